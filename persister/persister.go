// Package persister stores what the chat room accepted and serves it as history.
//
// Promises: an event that [Persister.Handle] answered with nil is committed, once, whatever was delivered how often; an
// event that contradicts a stored one, or that no database can hold, is refused for good ([events.IsPermanent]) and does
// no harm to the events beside it; a watermark never passes a hole, with any number of persisters on one database, and
// no page shows what is above it.
//
// Goroutines: [Persister.Run] owns the inserters, each of which makes one insert of what many callers wait for, and the
// announcer, which tells how far rooms are stored, at most every 100 ms. The gRPC server ([HistoryServer]) runs on the
// goroutines of its calls; a slow reader holds one page in memory and no connection to the database.
//
// Limits: an insert has at most 1,024 events and 4 MiB; an event at most [MaxEventBytes]; a page 1,000 events and 1 MiB.
// The package knows no broker: who consumes calls Handle, and tries again what was not answered with nil or a
// permanent error.
package persister

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

// Options of a [Persister]. Store, Announce and Logger are required.
type Options struct {
	Store Store
	// Announce tells the chat rooms how far rooms are stored. An error makes it try again later; a lost announcement is
	// made good by the next one of the room, or by a chat room that asks for the watermarks.
	Announce func(ctx context.Context, m events.MessagesStored) error
	Logger   *slog.Logger

	AnnounceEvery time.Duration // least time between two announcements; 0: 100 ms
	InsertTimeout time.Duration // of one insert; 0: 5 s
	Inserters     int           // inserts at once, for a store that gains by it; 0: 1
	MaxEvents     int           // in one insert; 0: 1,024
	MaxBytes      int           // in one insert; 0: 4 MiB
	Observe       func(Insert)  // called after each insert, from an inserter's goroutine; may be nil
	// Handling is called by Handle, with its context, before readable events wait to be stored. What it returns is called
	// with the answer to each of them. May be nil.
	Handling func(ctx context.Context, evs []events.MessageSent) (done func(errs []error))
}

// Persister stores events.
type Persister struct {
	handling  func(context.Context, []events.MessageSent) func([]error)
	batcher   *batcher
	announcer *announcer
	watchers  *watchers
}

// New makes a persister. It does nothing before [Persister.Run].
func New(o Options) *Persister {
	w := &watchers{rooms: map[string]map[chan struct{}]struct{}{}}
	a := &announcer{
		store: o.Store, announce: o.Announce, every: cmp.Or(o.AnnounceEvery, 100*time.Millisecond),
		watchers: w, log: o.Logger, wake: make(chan struct{}, 1), dirty: map[string]struct{}{},
	}
	b := &batcher{
		store: o.Store, inserters: cmp.Or(o.Inserters, 1), maxEvents: cmp.Or(o.MaxEvents, 1024), maxBytes: cmp.Or(o.MaxBytes, 4<<20),
		timeout: cmp.Or(o.InsertTimeout, 5*time.Second), stored: a.stored, observe: o.Observe, log: o.Logger,
		jobs: make(chan *job), stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	if b.observe == nil {
		b.observe = func(Insert) {}
	}
	if o.Handling == nil {
		o.Handling = func(context.Context, []events.MessageSent) func([]error) { return func([]error) {} }
	}
	return &Persister{handling: o.Handling, batcher: b, announcer: a, watchers: w}
}

// Run stores and announces until ctx is done; then it commits what callers wait for, announces that, and returns nil. It
// may be called once. Whoever calls Handle should be stopped first.
func (p *Persister) Run(ctx context.Context) error {
	announcing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { p.announcer.run(announcing) })
	p.batcher.run(ctx)
	stop()
	wg.Wait()
	return nil
}

// Handle stores encoded events (CloudEvents envelopes of MessageSent) and returns an error for each: nil when it is
// committed, now or earlier; a permanent one ([events.IsPermanent]) when it never can be; any other when it is worth
// trying again. It blocks until then, or until ctx is done, also while Run is not started. Any number of goroutines may
// call it; together they make larger inserts.
func (p *Persister) Handle(ctx context.Context, envelopes [][]byte) []error {
	errs := make([]error, len(envelopes))
	evs := make([]events.MessageSent, 0, len(envelopes))
	at := make([]int, 0, len(envelopes)) // evs[i] came from envelopes[at[i]]
	bytes := 0
	flush := func() {
		if len(evs) == 0 {
			return
		}
		done := p.handling(ctx, evs)
		answers := p.batcher.do(ctx, evs, bytes)
		done(answers)
		for i, err := range answers {
			errs[at[i]] = err
		}
		evs, at, bytes = make([]events.MessageSent, 0, cap(evs)), at[:0], 0 // the batcher may still read the old slice
	}
	for i, b := range envelopes {
		m, err := events.DecodeMessageSent(b)
		if err != nil {
			errs[i] = events.Permanent(err)
			continue
		}
		if len(evs) >= p.batcher.maxEvents || len(evs) > 0 && bytes+size(m) > p.batcher.maxBytes {
			flush()
		}
		evs, at, bytes = append(evs, m), append(at, i), bytes+size(m)
	}
	flush()
	return errs
}

// Watch wakes its caller, through a channel that holds one wake-up, when this process announced the room. What other
// persisters store is not seen, so a poll must stand beside it. stop must be called.
func (p *Persister) Watch(room string) (woken <-chan struct{}, stop func()) {
	return p.watchers.watch(room)
}
