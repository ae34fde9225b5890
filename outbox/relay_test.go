package outbox_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// virtual runs a test of the relay's timing in virtual time, on a store in memory, with a relay that runs.
func virtual(t *testing.T, tune func(*outbox.Options), test func(*testing.T, *outboxtest.Memory, *outbox.Relay)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := outboxtest.NewMemory()
		o := outbox.Options{Store: m, Owner: "a", Shards: outboxtest.Shards}
		if tune != nil {
			tune(&o)
		}
		r, err := outbox.NewRelay(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		test(t, m, r)
		cancel()
		if err := <-done; err != nil { // the bubble itself fails if a goroutine is left
			t.Errorf("Run: got %v, want nil", err)
		}
	})
}

func appendRows(t *testing.T, m *outboxtest.Memory, key string, from, to int64) {
	t.Helper()
	var rows []outbox.Row
	for seq := from; seq <= to; seq++ {
		rows = append(rows, outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: seq})
	}
	if err := m.Append(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

// next returns the next window, and how long it took.
func next(t *testing.T, r *outbox.Relay) (outbox.Window, time.Duration) {
	t.Helper()
	began := time.Now()
	w, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w, time.Since(began)
}

func wantTook(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got != want {
		t.Errorf("%s: took %v, want %v", what, got, want)
	}
}

func TestFailedBacksOffFrom100MillisecondsTo5Seconds(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 3)
		first, _ := next(t, r)
		for _, ms := range []int{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			r.Failed(first, errors.New("the broker is away"))
			again, took := next(t, r)
			wantTook(t, "the same rows again", took, time.Duration(ms)*time.Millisecond)
			if len(again.Rows) != len(first.Rows) {
				t.Errorf("rows: got %d, want %d", len(again.Rows), len(first.Rows))
			}
		}
		if err := r.Done(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		appendRows(t, m, "a", 4, 4)
		r.Wake()
		w, took := next(t, r)
		wantTook(t, "after success", took, 0)
		r.Failed(w, errors.New("again"))
		_, took = next(t, r)
		wantTook(t, "the first failure after success", took, 100*time.Millisecond)
	})
}

func TestWakeUpNeedsNoPollAndPollNeedsNoWakeUp(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		// The token of the first lease is taken by an empty fetch, and the next one waits.
		time.AfterFunc(300*time.Millisecond, func() {
			appendRows(t, m, "a", 1, 1)
			r.Wake()
			r.Wake()
		})
		w, took := next(t, r)
		wantTook(t, "woken", took, 300*time.Millisecond)
		if err := r.Done(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(300*time.Millisecond, func() { appendRows(t, m, "b", 1, 1) })
		_, took = next(t, r)
		if most := 3 * outbox.DefaultPoll / 2; took > most {
			t.Errorf("polled: took %v, want at most %v", took, most)
		}
	})
}

func TestDatabaseErrorsAreRetried(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 1)
		m.FailWith(func(string) error { return errors.New("the database is away") })
		time.AfterFunc(2*time.Second, func() { m.FailWith(nil) })
		w, took := next(t, r)
		wantTook(t, "fetch", took, 3100*time.Millisecond) // 100 + 200 + 400 + 800 + 1600 ms
		m.FailWith(func(string) error { return errors.New("away again") })
		time.AfterFunc(time.Second, func() { m.FailWith(nil) })
		if err := r.Done(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if st, _ := m.Stats(t.Context()); st.Unpublished != 0 {
			t.Errorf("unpublished: got %d, want 0", st.Unpublished)
		}
	})
}

// silent is a store that answers neither Fetch, MarkPublished nor Remove while it is silent, like a host that vanished
// with its connections open.
type silent struct {
	*outboxtest.Memory
	on atomic.Bool
}

func (s *silent) hang(ctx context.Context) error {
	if s.on.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (s *silent) Fetch(ctx context.Context, shards []int, limit int) ([]outbox.Row, error) {
	if err := s.hang(ctx); err != nil {
		return nil, err
	}
	return s.Memory.Fetch(ctx, shards, limit)
}

func (s *silent) MarkPublished(ctx context.Context, rows []outbox.Row) error {
	if err := s.hang(ctx); err != nil {
		return err
	}
	return s.Memory.MarkPublished(ctx, rows)
}

func (s *silent) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	if err := s.hang(ctx); err != nil {
		return 0, err
	}
	return s.Memory.Remove(ctx, stored)
}

// A call that is under way when the database vanishes must not hold the relay when it is back.
func TestDatabaseThatGoesSilentHoldsTheRelayForOneCallOnly(t *testing.T) {
	t.Parallel()
	s := &silent{}
	tune := func(o *outbox.Options) {
		s.Memory = o.Store.(*outboxtest.Memory)
		o.Store = s
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		const soon = 15 * time.Second
		gone := func() {
			s.on.Store(true)
			time.AfterFunc(time.Second, func() { s.on.Store(false) })
		}
		appendRows(t, m, "a", 1, 1)
		gone()
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		w, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("handed out: %v", err)
		}
		gone()
		ctx, cancel = context.WithTimeout(t.Context(), soon)
		defer cancel()
		if err := r.Done(ctx, w); err != nil {
			t.Fatalf("marked: %v", err)
		}
		gone()
		r.Stored(map[string]int64{"a": 1})
		<-time.After(soon) // virtual
		if st, _ := m.Stats(t.Context()); st.Unstored != 0 {
			t.Errorf("unstored: got %d, want 0", st.Unstored)
		}
	})
}

// A relay that cannot renew stops handing out rows when its lease ends, since another may have the shards.
func TestLeaseThatIsNotRenewedEndsWindows(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		m.FailWith(func(method string) error {
			if method == "Lease" {
				return errors.New("no lease")
			}
			return nil
		})
		<-time.After(outbox.DefaultLeaseTTL) // virtual
		appendRows(t, m, "a", 1, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if w, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next without a lease: got %v, %v", w, err)
		}
		m.FailWith(nil)
		next(t, r)
	})
}

// Rows that come while the lease has run out are handed out as soon as it is renewed, also to its old owner; the poll is an
// hour away.
func TestLeaseThatIsRenewedTooLateWakes(t *testing.T) {
	t.Parallel()
	virtual(t, func(o *outbox.Options) { o.Poll = time.Hour }, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		m.FailWith(func(method string) error {
			if method == "Lease" {
				return errors.New("no lease")
			}
			return nil
		})
		<-time.After(outbox.DefaultLeaseTTL) // virtual
		appendRows(t, m, "a", 1, 1)
		r.Wake() // answered by an empty look
		healed := time.AfterFunc(time.Second, func() { m.FailWith(nil) })
		defer healed.Stop()
		if _, took := next(t, r); took > outbox.DefaultLeaseTTL {
			t.Errorf("handed out after %v", took)
		}
	})
}

func TestStoredNeverBlocksAndSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 10)
		m.FailWith(func(method string) error {
			if method == "Remove" {
				return errors.New("the database is away")
			}
			return nil
		})
		for mark := range int64(10) {
			r.Stored(map[string]int64{"a": mark + 1, "b": mark})
		}
		<-time.After(time.Second) // virtual
		m.FailWith(nil)
		<-time.After(5 * time.Second) // virtual
		if st, _ := m.Stats(t.Context()); st.Unstored != 0 {
			t.Errorf("unstored: got %d, want 0", st.Unstored)
		}
	})
}

func TestCancellationEndsNextAndRun(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, _ *outboxtest.Memory, r *outbox.Relay) {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := r.Next(ctx)
			got <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("Next: got %v, want context.Canceled", err)
		}
	})
}
