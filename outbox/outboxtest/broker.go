package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// broker records what relays publish, in order, and judges the order in which rows come for the first time.
type broker struct {
	mu        sync.Mutex // guards the fields below
	published []outbox.Row
	last      map[string]int64 // highest seq of a key
	gaps      []string         // rows that came before a lower one of their key
	changed   chan struct{}    // closed and replaced by publish
}

func newBroker() *broker {
	return &broker{last: map[string]int64{}, changed: make(chan struct{})}
}

func (b *broker) publish(rows []outbox.Row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rows {
		switch last := b.last[r.Key]; {
		case r.Seq == last+1:
			b.last[r.Key] = r.Seq
		case r.Seq > last:
			b.gaps = append(b.gaps, fmt.Sprintf("%s/%d after %d", r.Key, r.Seq, last))
		}
	}
	b.published = append(b.published, rows...)
	close(b.changed)
	b.changed = make(chan struct{})
}

// through waits until each key was published up to its mark.
func (b *broker) through(t *testing.T, marks map[string]int64) {
	t.Helper()
	b.until(t, fmt.Sprintf("published through %v", marks), func() bool {
		for key, mark := range marks {
			if b.last[key] < mark {
				return false
			}
		}
		return true
	})
}

// until waits for a condition on the fields.
func (b *broker) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		b.mu.Lock()
		ok, changed := holds(), b.changed
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-end.C:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// times tells how often a row was published.
func (b *broker) times(key string, seq int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, r := range b.published {
		if r.Key == key && r.Seq == seq {
			n++
		}
	}
	return n
}

func (b *broker) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.gaps {
		t.Errorf("first published out of order: %s", g)
	}
}

// newRelay makes a relay whose timers do not fire within a test, unless tune says so.
func newRelay(t *testing.T, b Backend, owner string, tune func(*outbox.Options)) *outbox.Relay {
	t.Helper()
	o := outbox.Options{
		Store: b.Store, Owner: owner, Shards: Shards, Poll: long, LeaseTTL: long, RepublishAfter: long, ReleaseWithin: long,
	}
	if tune != nil {
		tune(&o)
	}
	r, err := outbox.NewRelay(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs a relay until the test ends, or stop is called.
func start(t *testing.T, r *outbox.Relay) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// pump publishes the windows of a relay until the test ends, or stop is called.
func pump(t *testing.T, r *outbox.Relay, to *broker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		for {
			w, err := r.Next(ctx)
			if err == nil {
				to.publish(w.Rows)
				err = r.Done(ctx, w)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Next, Done: got %v, want context.Canceled", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func mustNext(t *testing.T, r *outbox.Relay) outbox.Window {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustDone(t *testing.T, r *outbox.Relay, w outbox.Window) {
	t.Helper()
	if err := r.Done(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}
