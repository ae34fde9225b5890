package outbox_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// The consumer is reachable and has a hole: the rows above it come again after RepublishAfter, so many a sweep.
func TestSweepRepublishesBoundedRows(t *testing.T) {
	t.Parallel()
	asked := 0
	tune := func(o *outbox.Options) {
		o.Watermarks = func(_ context.Context, keys []string) (map[string]int64, error) {
			asked++
			return map[string]int64{}, nil
		}
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, outbox.SweepRows+10)
		published := time.Now()
		for left := outbox.SweepRows + 10; left > 0; {
			w, _ := next(t, r)
			left -= len(w.Rows)
			if err := r.Done(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		w, _ := next(t, r)
		if d := time.Since(published); d < outbox.DefaultRepublishAfter || d > 2*outbox.DefaultRepublishAfter {
			t.Errorf("rows came again after %v, want %v to twice that", d, outbox.DefaultRepublishAfter)
		}
		if w.Rows[0].Seq != 1 || !slices.IsSortedFunc(w.Rows, func(a, b outbox.Row) int { return int(a.Seq - b.Seq) }) {
			t.Errorf("rows: got %d first, want 1, in order", w.Rows[0].Seq)
		}
		if st, _ := m.Stats(t.Context()); st.Unpublished != outbox.SweepRows {
			t.Errorf("made to wait again: got %d, want %d", st.Unpublished, outbox.SweepRows)
		}
		if asked == 0 {
			t.Error("the watermarks were not asked first")
		}
	})
}

// While nobody can say what is stored, nothing is published again: the queue may hold it all.
func TestSweepWaitsWhileWatermarksFail(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	down.Store(true)
	tune := func(o *outbox.Options) {
		o.Watermarks = func(context.Context, []string) (map[string]int64, error) {
			if down.Load() {
				return nil, errors.New("the persister is away")
			}
			return map[string]int64{"a": 2}, nil
		}
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 4)
		w, _ := next(t, r)
		if err := r.Done(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * outbox.DefaultRepublishAfter) // virtual
		if st, _ := m.Stats(t.Context()); st.Unpublished != 0 || st.Unstored != 4 {
			t.Errorf("while it fails: got %+v, want 4 published rows", st)
		}
		down.Store(false)
		again, _ := next(t, r)
		if len(again.Rows) != 2 || again.Rows[0].Seq != 3 {
			t.Errorf("rows: got %v, want 3 and 4", again.Rows)
		}
	})
}

// A consumer that is late and moves is given the same again once, when nothing is known of it, and then no more until it
// stands still.
func TestSweepSparesAConsumerThatMoves(t *testing.T) {
	t.Parallel()
	var mark atomic.Int64
	tune := func(o *outbox.Options) {
		o.Watermarks = func(context.Context, []string) (map[string]int64, error) {
			return map[string]int64{"a": mark.Load()}, nil
		}
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 100)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				w, err := r.Next(ctx)
				if err != nil || r.Done(ctx, w) != nil {
					return
				}
			}
		}()
		<-time.After(outbox.DefaultRepublishAfter + outbox.DefaultRepublishAfter/2) // virtual
		for range 60 {
			<-time.After(5 * time.Second) // virtual
			r.Stored(map[string]int64{"a": mark.Add(1)})
		}
		moving := m.Calls("Republish")
		if moving != 1 {
			t.Errorf("Republish while the consumer moves: got %d calls, want 1", moving)
		}
		<-time.After(outbox.DefaultRepublishAfter) // virtual
		if still := m.Calls("Republish"); still <= moving {
			t.Errorf("Republish after it stands still: got %d calls, want more than %d", still, moving)
		}
		cancel()
		<-ended
	})
}

// Rows that are stored, and whose announcement was lost, are removed and not published again.
func TestSweepRemovesWhatWasNotAnnounced(t *testing.T) {
	t.Parallel()
	tune := func(o *outbox.Options) {
		o.Watermarks = func(context.Context, []string) (map[string]int64, error) {
			return map[string]int64{"a": 100}, nil
		}
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 100)
		w, _ := next(t, r)
		if err := r.Done(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * outbox.DefaultRepublishAfter) // virtual
		st, err := m.Stats(t.Context())
		if err != nil || st.Unstored != 0 || m.Calls("Republish") != 0 {
			t.Errorf("got %+v, %v and %d calls of Republish, want none", st, err, m.Calls("Republish"))
		}
	})
}
