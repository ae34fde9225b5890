package outbox_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// backlog runs a relay with windows of four rows over n rows of the key a.
func backlog(t *testing.T, n int64, test func(*testing.T, *during, *outbox.Relay)) {
	t.Helper()
	d := &during{}
	tune := func(o *outbox.Options) {
		d.Memory = o.Store.(*outboxtest.Memory)
		appendRows(t, d.Memory, "a", 1, n)
		o.Store, o.Window, o.Poll = d, 4, time.Hour
	}
	virtual(t, tune, func(t *testing.T, _ *outboxtest.Memory, r *outbox.Relay) { test(t, d, r) })
}

// rowsTo takes windows, each at once, through row n of the key a.
func rowsTo(t *testing.T, r *outbox.Relay, from, to int64) {
	t.Helper()
	for from <= to {
		w, took := next(t, r)
		if w.Offered || took != 0 || w.Rows[0].Seq != from {
			t.Fatalf("window (offered: %v) begins with %d, after %v, want %d at once", w.Offered, w.Rows[0].Seq, took, from)
		}
		done(t, r, w)
		from += int64(len(w.Rows))
	}
}

func TestABacklogIsReadWhileAWindowIsOut(t *testing.T) {
	t.Parallel()
	backlog(t, 40, func(t *testing.T, d *during, r *outbox.Relay) {
		w, _ := next(t, r)
		synctest.Wait()
		if got := d.Calls("Fetch"); got != 2 {
			t.Errorf("while the first window is out: %d calls of Fetch, want 2", got)
		}
		done(t, r, w)
		if got := d.Calls("MarkPublished"); got != 0 {
			t.Errorf("behind the first window: %d calls of MarkPublished, want them later, together", got)
		}
		rowsTo(t, r, 5, 40)
		if got := d.Calls("Fetch"); got > 5 {
			t.Errorf("%d calls of Fetch for ten windows", got)
		}
		if st, err := d.Stats(t.Context()); err != nil || st.Unpublished != 0 {
			t.Errorf("at the end: got %+v, %v, want all of it marked", st, err)
		}
	})
}

// What follows a window that failed, or that nobody answered, is not handed out before it.
func TestWhatIsReadAheadWaitsForWhatIsOut(t *testing.T) {
	t.Parallel()
	backlog(t, 16, func(t *testing.T, _ *during, r *outbox.Relay) {
		w, _ := next(t, r)
		synctest.Wait() // the others are read, and known to be all
		r.Failed(w, errors.New("the broker is away"))
		w, took := next(t, r)
		wantTook(t, "the same window again", took, 100*time.Millisecond)
		if w.Rows[0].Seq != 1 {
			t.Fatalf("after the failure: got row %d, want 1", w.Rows[0].Seq)
		}
		done(t, r, w)
		if w, _ = next(t, r); w.Rows[0].Seq != 5 { // and nobody answers
			t.Fatalf("got row %d, want 5", w.Rows[0].Seq)
		}
		rowsTo(t, r, 5, 16)
	})
}

// Rows that were out and are removed make room in what is read ahead; what does not fit comes with the next fetch.
func TestWhatIsReadAheadIsBounded(t *testing.T) {
	t.Parallel()
	backlog(t, 4+18, func(t *testing.T, d *during, r *outbox.Relay) {
		d.fetch = func() {
			d.fetch = func() { // the second fetch: the consumer was faster
				r.Stored(map[string]int64{"a": 4})
				<-time.After(time.Second)
			}
		}
		w, _ := next(t, r)
		<-time.After(2 * time.Second)
		done(t, r, w)
		for seq := int64(5); seq <= 22; {
			w, took := next(t, r)
			if len(w.Rows) > 4 || w.Rows[0].Seq != seq || took != 0 {
				t.Fatalf("got %d rows from %d after %v, want at most 4 from %d at once", len(w.Rows), w.Rows[0].Seq, took, seq)
			}
			done(t, r, w)
			seq += int64(len(w.Rows))
		}
	})
}

// What was read ahead of shards that went to another relay is left to it.
func TestWhatIsReadAheadOfLostShardsIsDropped(t *testing.T) {
	t.Parallel()
	backlog(t, 40, func(t *testing.T, d *during, r *outbox.Relay) {
		w, _ := next(t, r)
		synctest.Wait()
		if err := d.Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if owned, err := d.Lease(t.Context(), "other", outboxtest.Shards, time.Hour); err != nil || len(owned) != outboxtest.Shards {
			t.Fatalf("the other relay: got the shards %v, %v, want all", owned, err)
		}
		<-time.After(outbox.DefaultLeaseTTL)
		done(t, r, w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if w, err := r.Next(ctx); err == nil {
			t.Errorf("got %d rows from %d, want none of the other's", len(w.Rows), w.Rows[0].Seq)
		}
	})
}

// A window that is confirmed after the relay has ended is marked, though more of the backlog was read.
func TestWhatIsConfirmedAfterTheEndIsMarked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := outboxtest.NewMemory()
		appendRows(t, m, "a", 1, 40)
		r, err := outbox.NewRelay(outbox.Options{Store: m, Owner: "a", Shards: outboxtest.Shards, Window: 4})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		w, _ := next(t, r)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		done(t, r, w)
		if st, err := m.Stats(t.Context()); err != nil || st.Unpublished != 36 {
			t.Errorf("got %+v, %v, want 36 rows unpublished", st, err)
		}
	})
}
