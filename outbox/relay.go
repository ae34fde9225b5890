package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Options].
const (
	DefaultWindow         = 1024
	DefaultPoll           = time.Second
	DefaultLeaseTTL       = 10 * time.Second
	DefaultRepublishAfter = 30 * time.Second
	DefaultReleaseWithin  = 2 * time.Second
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// callTimeout bounds one try to read or mark rows: a database that went silent, with its connection open, must not hold
	// the relay for as long as TCP is patient.
	callTimeout = 10 * time.Second
	// pollTimeout bounds a poll, during which nothing is handed out; one that fails is not tried again for pollPause times as
	// long as it took.
	pollTimeout = 2 * time.Second
	pollPause   = 4
	// removeTries bounds how far the time for a removal grows: after a long outage it may have much to do at once.
	removeTries = 6
)

// Options of a [Relay]. Store, Owner and Shards are required; zero elsewhere means the default.
type Options struct {
	Store  Store
	Owner  string // unique among the relays that run on the database
	Shards int    // equal for all relays
	// ShardOf tells the shard of a key, as in its rows; default: ShardOf of this package with Shards.
	ShardOf func(key string) int

	Window         int           // rows of a window, at most
	Poll           time.Duration // how often to look for rows that nobody told of, which are found when they wait for half of it
	LeaseTTL       time.Duration // how long the shards of a dead owner rest; renewed three times in it
	RepublishAfter time.Duration // how long a published row may stay unannounced; looked at three times in it
	ReleaseWithin  time.Duration // how long the last marks and the release of the shards may take, after the relay's context ended

	// Watermarks tells through which seq the keys are stored; keys of which nothing is stored are absent or 0. While it
	// fails nothing is published again. Nil: nothing is known, and every row that is due is published again.
	Watermarks func(ctx context.Context, keys []string) (map[string]int64, error)

	Logger *slog.Logger // default: discard
}

// Relay hands out windows of the rows of its shards. [Relay.Run] must run; Next and Done or Failed are
// called in turn. Offer, Heard, Wake and Stored may be called at any time.
type Relay struct {
	// Immutable.
	o    Options
	wake chan struct{} // holds one token: rows may have come
	mark chan struct{} // holds one token: marks wait in pending

	removed atomic.Int64 // rows, since the last vacuum

	// Owned by the sweep.
	seen  map[string]sighting // keys that were due lately
	after string              // where the next sweep goes on

	mu        sync.Mutex // guards the fields below
	failures  int        // windows that failed in a row
	notBefore time.Time  // the next window
	owned     []int      // ascending; replaced, never changed
	until     time.Time  // when owned ends, unless it is renewed
	leases    int        // counts what was owned; a lease that was renewed in time, with the same shards, is the same
	ended     bool       // Run has marked what waited for that
	pending   map[string]int64
	dropping  bool // pending is full, and a warning was logged
	offered   offered
	unmarked  unmarked
	ahead     ahead
}

// NewRelay checks the options. The relay does nothing before Run.
func NewRelay(o Options) (*Relay, error) {
	switch {
	case o.Store == nil:
		return nil, errors.New("outbox relay: no store")
	case o.Owner == "":
		return nil, errors.New("outbox relay: no owner")
	case o.Shards < 1 || o.Shards > presenceBase:
		return nil, fmt.Errorf("outbox relay: %d shards, want 1 to %d", o.Shards, presenceBase)
	case o.Window < 0 || o.Poll < 0 || o.LeaseTTL < 0 || o.RepublishAfter < 0 || o.ReleaseWithin < 0:
		return nil, errors.New("outbox relay: negative option")
	}
	if o.ShardOf == nil {
		o.ShardOf = func(key string) int { return ShardOf(key, o.Shards) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Window = orDefault(o.Window, DefaultWindow)
	o.Poll = orDefault(o.Poll, DefaultPoll)
	o.LeaseTTL = orDefault(o.LeaseTTL, DefaultLeaseTTL)
	o.RepublishAfter = orDefault(o.RepublishAfter, DefaultRepublishAfter)
	o.ReleaseWithin = orDefault(o.ReleaseWithin, DefaultReleaseWithin)
	return &Relay{
		o: o, wake: make(chan struct{}, 1), mark: make(chan struct{}, 1),
		seen: map[string]sighting{}, pending: map[string]int64{},
		offered: offered{gap: true, last: map[string]int64{}}, unmarked: unmarked{spans: map[string][]span{}},
	}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Run keeps the leases, removes what is stored, sweeps and vacuums, until ctx ends; then it marks what is published, gives the shards
// to the others and returns nil. Database errors are retried for ever. Next should not be called any more by then.
func (r *Relay) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.keepLeases(ctx) })
	wg.Go(func() { r.removeStored(ctx) })
	wg.Go(func() { r.keepSweeping(ctx) })
	wg.Go(func() { r.keepVacuuming(ctx) })
	wg.Wait()
	r.awaitAhead()
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()

	r.setOwned(nil, time.Time{})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.ReleaseWithin)
	defer cancel()
	if err := r.markUnmarked(ctx); err != nil {
		r.o.Logger.Warn("outbox rows not marked published, they are published again", "owner", r.o.Owner, "error", err)
	}
	if err := r.o.Store.Release(ctx, r.o.Owner); err != nil {
		r.o.Logger.Warn("outbox shards not released, they rest until their lease ends", "owner", r.o.Owner, "error", err)
	}
	return nil
}

func (r *Relay) keepLeases(ctx context.Context) {
	every := r.o.LeaseTTL / 3
	for failures := 0; ; {
		err := r.lease(ctx, every)
		wait := every
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait = min(every, backoff(failures))
			r.o.Logger.Warn("outbox shards not leased, retrying", "owner", r.o.Owner, "error", err)
		default:
			failures = 0
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func (r *Relay) lease(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asked := time.Now() // the database counts from later, so the relay stops no later than its lease does
	owned, err := r.o.Store.Lease(ctx, r.o.Owner, r.o.Shards, r.o.LeaseTTL)
	if err != nil {
		return err
	}
	before := r.setOwned(owned, asked.Add(r.o.LeaseTTL))
	if !slices.Equal(before, owned) {
		r.o.Logger.Info("outbox shards leased", "owner", r.o.Owner, "shards", owned)
		r.Wake() // the rows of new shards may have waited for long
	}
	return nil
}

// setOwned returns what was owned before: nothing, if that lease had run out. Who looked for rows meanwhile found none and
// waits, so a lease that is renewed too late is a new one.
func (r *Relay) setOwned(owned []int, until time.Time) (before []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		before = r.owned
	}
	if before == nil || !slices.Equal(before, owned) {
		r.leases++
	}
	r.owned, r.until = owned, until
	return before
}

// shards returns what the relay owns now: nothing, if the lease could not be renewed in time.
func (r *Relay) shards() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shardsLocked()
}

// leaseLocked names the present lease, 0 when there is none.
func (r *Relay) leaseLocked() int {
	if len(r.shardsLocked()) == 0 {
		return 0
	}
	return r.leases
}

func (r *Relay) shardsLocked() []int {
	if !time.Now().Before(r.until) {
		return nil
	}
	return r.owned
}

// backoff doubles from 100 ms to 5 s.
func backoff(failures int) time.Duration {
	return min(maxBackoff, firstBackoff<<min(failures-1, 10))
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
