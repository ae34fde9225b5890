package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// Source is where the relay's events come from; *outbox.Relay is one. RunRelay has one window at a time: for each
// window that Next returned it calls Done or Failed, and then Next again.
type Source interface {
	Next(ctx context.Context) (outbox.Window, error)
	Done(ctx context.Context, w outbox.Window) error
	Failed(w outbox.Window, err error)
}

// RunRelay publishes what src has, window by window, until ctx ends; a window under way may still be published and
// marked, within Options.StopWithin. While the transport is not ready, it takes no window.
//
// It is a handler of a Watermill router between two of Watermill's ends: a subscriber over src that emits a window as
// one message, and the transport's publisher, which gets all messages that the handler makes of it in one call.
func RunRelay(ctx context.Context, t Transport, src Source, o Options) error {
	o = o.withDefaults()
	r, err := newRouter(o)
	if err != nil {
		return fmt.Errorf("make a router: %w", err)
	}
	w := newWindows(t, src, o)
	r.AddPublisherDecorators(func(p message.Publisher) (message.Publisher, error) {
		return windowPublisher{p, w}, nil
	})
	r.AddHandler("relay", "outbox", w, "outbox", t.Events(), func(m *message.Message) ([]*message.Message, error) {
		return w.expand(m), nil
	})
	return runRouter(ctx, r, w)
}

// windows is the Watermill subscriber over a Source.
type windows struct {
	transport Transport
	src       Source
	o         Options
	closed    context.Context
	close     context.CancelFunc
	wg        sync.WaitGroup

	mu      sync.Mutex // guards the fields below, which belong to the window under way
	current outbox.Window
	err     error
	publish context.Context // ends some time after the stop
}

func newWindows(t Transport, src Source, o Options) *windows {
	w := &windows{transport: t, src: src, o: o}
	w.closed, w.close = context.WithCancel(context.Background())
	return w
}

// Subscribe emits one message a window, and the next when that one is acknowledged or not.
func (w *windows) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	if w.closed.Err() != nil {
		return nil, ErrClosed
	}
	out := make(chan *message.Message)
	w.wg.Go(func() {
		defer close(out)
		live, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(w.closed, cancel)()
		retry := backoff{first: w.o.RetryMin, max: w.o.RetryMax}
		for w.ready(live) {
			win, err := w.src.Next(live)
			if err != nil {
				if live.Err() != nil {
					return
				}
				w.o.Logger.Warn("outbox not readable, trying again", "error", err)
				retry.wait(live)
				continue
			}
			retry.reset()
			if len(win.Rows) > 0 && !w.relay(live, win, out) {
				return
			}
		}
	})
	return out, nil
}

// Close ends the subscription; a window under way counts as failed.
func (w *windows) Close() error {
	w.close()
	w.wg.Wait()
	return nil
}

// pauseTold is how long the transport may be away, at a start for example, before that is worth a line.
const pauseTold = 2 * time.Second

// ready waits until the transport is; false when live has ended, or the transport is closed.
func (w *windows) ready(live context.Context) bool {
	wait := backoff{first: 20 * time.Millisecond, max: time.Second}
	began, said := time.Now(), false
	for live.Err() == nil {
		err := w.transport.Ready()
		if err == nil {
			return true
		}
		if errors.Is(err, ErrClosed) {
			return false
		}
		if !said && time.Since(began) > pauseTold {
			w.o.Logger.Warn("relay pauses", "error", err)
			said = true
		}
		wait.wait(live)
	}
	return false
}

// relay hands one window to the router and tells the source how it went; false when the subscription is closed.
func (w *windows) relay(live context.Context, win outbox.Window, out chan<- *message.Message) bool {
	ctx, cancel := graceful(live, w.o.StopWithin)
	defer cancel()
	w.mu.Lock()
	w.current, w.err, w.publish = win, nil, ctx
	w.mu.Unlock()
	if mutant.MarkBeforeConfirm {
		_ = w.src.Done(ctx, win)
	}
	m := message.NewMessage("", nil)
	m.SetContext(live)
	select {
	case out <- m:
	case <-live.Done():
		w.src.Failed(win, context.Cause(live))
		return false
	}
	select {
	case <-m.Acked():
		w.logPublished(win)
		if err := w.src.Done(ctx, win); err != nil {
			w.o.Logger.Warn("published events not marked, they are published again", "events", len(win.Rows), "error", err)
			w.src.Failed(win, err)
		}
	case <-m.Nacked():
		w.src.Failed(win, w.failure())
	case <-w.closed.Done():
		w.src.Failed(win, ErrClosed)
		return false
	}
	return true
}

// logPublished leaves a line for each event, for who follows one through the logs: its row, which knows when it was
// published, goes when it is stored.
func (w *windows) logPublished(win outbox.Window) {
	if !w.o.Logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	for _, r := range win.Rows {
		w.o.Logger.Debug("event published and confirmed", "event_id", events.EventID(r.Key, r.Seq))
	}
}

func (w *windows) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		return errors.New("the window was not published")
	}
	return w.err
}

// windowPublisher remembers why a window failed: the router tells a subscriber only that it did.
type windowPublisher struct {
	message.Publisher
	w *windows
}

func (p windowPublisher) Publish(topic string, msgs ...*message.Message) error {
	p.w.mu.Lock()
	rows := p.w.current.Rows
	p.w.mu.Unlock()
	settled := p.w.o.Publishing(rows)
	err := p.Publisher.Publish(topic, msgs...)
	settled(err)
	p.w.mu.Lock()
	p.w.err = err
	p.w.mu.Unlock()
	return err
}

// expand makes the messages of the window under way. Shards with few events send each alone, so that a consumer's
// many handlers share them; a backlog goes in batches, since a broker's cost is for each message. Both keep the order
// in which a shard's rows came, and so the order within each key.
func (w *windows) expand(*message.Message) []*message.Message {
	w.mu.Lock()
	rows, offered, ctx := w.current.Rows, w.current.Offered, w.publish
	w.mu.Unlock()
	var order []int
	shards := make(map[int][]outbox.Row)
	for _, r := range rows {
		if _, ok := shards[r.Shard]; !ok {
			order = append(order, r.Shard)
		}
		shards[r.Shard] = append(shards[r.Shard], r)
	}
	var msgs []*message.Message
	for _, shard := range order {
		msgs = append(msgs, shardMessages(shards[shard], w.o, offered)...)
	}
	for _, m := range msgs {
		m.SetContext(ctx)
	}
	return msgs
}

// shardMessages trusts rows that were offered: this process has just encoded them.
func shardMessages(rows []outbox.Row, o Options, offered bool) []*message.Message {
	bodies := make([][]byte, len(rows))
	for i, r := range rows {
		bodies[i] = r.Payload
	}
	var msgs []*message.Message
	for len(rows) > 0 {
		n := batchLen(bodies, o.BatchEvents, o.BatchBytes)
		if !offered && n > 1 {
			n = aloneIfBroken(bodies[:n])
		}
		id := events.EventID(rows[0].Key, rows[0].Seq)
		msgs = append(msgs, envelopeMessage(id, events.TypeMessageSent, events.MessageSentKey(rows[0].Shard), bodies[:n]))
		rows, bodies = rows[n:], bodies[n:]
	}
	return msgs
}

// aloneIfBroken cuts a batch before a body that is no JSON, and gives such a body a message of its own: inside a batch it
// would make all the others unreadable.
func aloneIfBroken(bodies [][]byte) int {
	for i, b := range bodies {
		if !json.Valid(b) {
			return max(i, 1)
		}
	}
	return len(bodies)
}
