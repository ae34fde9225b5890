package chatroom

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

const (
	// batchCount and batchBytes bound one transaction.
	batchCount = 1024
	batchBytes = 1 << 20
	// acceptTimeout bounds one transaction, outcomeTimeout the tries to learn the outcome of a commit.
	acceptTimeout  = 10 * time.Second
	outcomeTimeout = 3 * time.Second
)

// pending is a send on its way. done is called once, from the acceptor's goroutine, and must not block. wake, where there is
// one, follows on the last done of its batch: whoever sent several, or reads what was sent, gets it all in one write.
type pending struct {
	send store.Send
	done func(store.Receipt, error)
	wake func()
}

// committed takes a batch's new events, before any done. What it returns is called after the last done, to wake the readers:
// a sender then gets his answer and the event in one write.
type committed func(accepted []store.Send, receipts []store.Receipt) (wake func())

// acceptor commits sends. Batching is natural: what arrives while a commit is under way goes into the next one, and a
// send that finds the acceptor idle goes at once. One goroutine, run's own, commits one batch after the other, so that
// this replica's events reach its rooms in commit order.
type acceptor struct {
	store     store.Store
	log       *slog.Logger
	metrics   *metrics
	committed committed
	waiting   *waiting
}

func newAcceptor(s store.Store, log *slog.Logger, m *metrics, committed committed) *acceptor {
	return &acceptor{store: s, log: log, metrics: m, committed: committed, waiting: newWaiting()}
}

var errStopping = errors.New("the server is stopping")

// submit queues a send. It blocks while there is no space for it; an error means that done will not be called.
func (a *acceptor) submit(ctx context.Context, p pending) error { return a.waiting.put(ctx, p) }

// run commits until ctx ends, and then what waits. What is in flight is finished, not cut off, and nothing more is taken.
func (a *acceptor) run(ctx context.Context) {
	batch := make([]pending, 0, batchCount)
	for stopping := false; ; {
		if !stopping && ctx.Err() != nil {
			a.waiting.end()
			stopping = true
		}
		if batch = a.waiting.take(batch[:0]); len(batch) > 0 {
			a.commit(context.WithoutCancel(ctx), batch)
			clear(batch)
			continue
		}
		if stopping {
			return
		}
		select {
		case <-a.waiting.arrived:
		case <-ctx.Done():
		}
	}
}

// commit accepts one batch and answers every send in it.
func (a *acceptor) commit(ctx context.Context, batch []pending) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	sends := make([]store.Send, len(batch))
	for i, p := range batch {
		sends[i] = p.send
		sends[i].SentAt = now
	}
	began := time.Now()
	receipts, err := a.try(ctx, sends)
	if err != nil {
		a.log.WarnContext(ctx, "sends not accepted", "count", len(batch), "error", err)
		a.metrics.refused.Add(float64(len(batch)))
		refuse(batch, err)
		return
	}
	a.metrics.batch.Observe(float64(len(batch)))
	a.metrics.commit.Observe(time.Since(began).Seconds())
	wake := a.committed(sends, receipts)
	for i, p := range batch {
		p.done(receipts[i], nil)
	}
	wake()
	wakeAll(batch)
}

func refuse(batch []pending, err error) {
	for _, p := range batch {
		p.done(store.Receipt{}, err)
	}
	wakeAll(batch)
}

func wakeAll(batch []pending) {
	for _, p := range batch {
		if p.wake != nil {
			p.wake()
		}
	}
}

// try calls the store, and again with the same sends as long as the outcome of a commit is unknown: only the database
// can tell, and the ids make the second try harmless. A duplicate that a later try finds is, as far as anybody can know,
// the work of the earlier one, so that it is answered, and shown to the room, like any new message.
func (a *acceptor) try(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	var deadline time.Time // from the first unknown outcome on
	pause := 50 * time.Millisecond
	unknown := false
	for {
		tryCtx, cancel := context.WithTimeout(ctx, acceptTimeout)
		receipts, err := a.store.Accept(tryCtx, sends)
		cancel()
		if err == nil {
			if unknown {
				for i := range receipts {
					receipts[i].Duplicate = false
				}
			}
			return receipts, nil
		}
		if mutant.UnknownIsRefused && errors.Is(err, store.ErrUnknownOutcome) {
			return nil, store.ErrBadRow
		}
		if !unknown && errors.Is(err, store.ErrUnknownOutcome) {
			unknown, deadline = true, time.Now().Add(outcomeTimeout)
		}
		if !unknown || time.Now().Add(pause).After(deadline) {
			return nil, err
		}
		a.log.WarnContext(ctx, "outcome of a commit unknown; trying the same again", "count", len(sends), "error", err)
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}
