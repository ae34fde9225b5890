package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// commit appends rows of key a, and returns them for an offer.
func commit(t *testing.T, m *outboxtest.Memory, from, to int64) (rows []outbox.Row) {
	t.Helper()
	const key = "a"
	appendRows(t, m, key, from, to)
	for seq := from; seq <= to; seq++ {
		rows = append(rows, outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: seq})
	}
	return rows
}

// wantWindow takes the next window and expects these rows.
func wantWindow(t *testing.T, r *outbox.Relay, offered bool, want ...string) outbox.Window {
	t.Helper()
	w, _ := next(t, r)
	var got []string
	for _, row := range w.Rows {
		got = append(got, fmt.Sprintf("%s/%d", row.Key, row.Seq))
	}
	if d := cmp.Diff(want, got); d != "" || w.Offered != offered {
		t.Errorf("window (offered: %v, want %v), rows (-want +got):\n%s", w.Offered, offered, d)
	}
	return w
}

func done(t *testing.T, r *outbox.Relay, w outbox.Window) {
	t.Helper()
	if err := r.Done(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// primed makes a relay that knows row 1 of key a.
func primed(t *testing.T, test func(*testing.T, *outboxtest.Memory, *outbox.Relay)) {
	t.Helper()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 1, 1)
		done(t, r, wantWindow(t, r, false, "a/1"))
		r.Stored(map[string]int64{"a": 1})
		synctest.Wait()
		test(t, m, r)
	})
}

// calls are those of reading and marking.
func calls(m *outboxtest.Memory) [2]int {
	return [2]int{m.Calls("Fetch"), m.Calls("MarkPublished")}
}

// In a steady state a row is neither fetched nor marked, only removed.
func TestOfferedRowsAreNeitherFetchedNorMarked(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		before := calls(m)
		for seq := int64(2); seq < 12; seq++ {
			r.Offer(commit(t, m, seq, seq))
			done(t, r, wantWindow(t, r, true, fmt.Sprint("a/", seq)))
			r.Stored(map[string]int64{"a": seq})
			synctest.Wait()
		}
		if got := calls(m); got != before {
			t.Errorf("calls of Fetch and MarkPublished: got %v, want %v as before", got, before)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*outbox.DefaultPoll)
		defer cancel()
		if w, err := r.Next(ctx); err == nil {
			t.Errorf("handed out again: %v", w)
		}
		if st, err := m.Stats(t.Context()); err != nil || st.Unstored != 0 || m.Calls("MarkPublished") != before[1] {
			t.Errorf("got %+v, %v and %d calls of MarkPublished, want an empty outbox and %d", st, err, m.Calls("MarkPublished"), before[1])
		}
	})
}

// A confirm that comes after the announcement leaves a row that is gone among those to be marked, for two polls.
func TestRowsThatAreGoneNeedNoMark(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		r.Offer(commit(t, m, 2, 2))
		w := wantWindow(t, r, true, "a/2")
		r.Stored(map[string]int64{"a": 2})
		synctest.Wait()
		done(t, r, w)
		if n := r.Unmarked(); n != 1 {
			t.Errorf("got %d rows to be marked, want 1", n)
		}
		before := calls(m)
		ctx, cancel := context.WithTimeout(t.Context(), 2*outbox.DefaultPoll+outbox.DefaultPoll/2)
		defer cancel()
		if w, err := r.Next(ctx); err == nil {
			t.Errorf("handed out again: %v", w)
		}
		if n := r.Unmarked(); n != 0 {
			t.Errorf("after two polls: got %d rows to be marked, want none", n)
		}
		if got := calls(m); got != before {
			t.Errorf("calls of Fetch and MarkPublished: got %v, want %v as before", got, before)
		}
	})
}

// A row of another process comes first, though only the one behind it was offered.
func TestOfferBehindARowOfAnotherProcessIsFetched(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 2, 2) // by another
		r.Offer(commit(t, m, 3, 3))
		done(t, r, wantWindow(t, r, false, "a/2", "a/3"))
		r.Offer(commit(t, m, 4, 4))
		done(t, r, wantWindow(t, r, true, "a/4"))
	})
}

// What the relay hears of and does not know it looks for at once; what it knows it does not.
func TestHeardRowsAreLookedForOnce(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		appendRows(t, m, "a", 2, 2)
		r.Heard("a", 2)
		w, took := next(t, r)
		wantTook(t, "heard", took, 0)
		done(t, r, w)
		r.Offer(commit(t, m, 3, 3))
		r.Heard("a", 3) // the fan-out brings what was committed here as well
		done(t, r, wantWindow(t, r, true, "a/3"))
	})
}

// The consumer is away: what was published is marked by the next poll, so that it is not published again.
func TestOfferedRowsThatStayAreMarked(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		r.Offer(commit(t, m, 2, 4))
		done(t, r, wantWindow(t, r, true, "a/2", "a/3", "a/4"))
		if st, _ := m.Stats(t.Context()); st.Unpublished != 3 {
			t.Errorf("not marked at first: got %d, want 3", st.Unpublished)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*outbox.DefaultPoll)
		defer cancel()
		if w, err := r.Next(ctx); err == nil {
			t.Errorf("handed out again: %v", w)
		}
		if st, _ := m.Stats(t.Context()); st.Unpublished != 0 || st.Unstored != 3 {
			t.Errorf("after a poll: got %+v, want 3 published rows", st)
		}
	})
}

// While the database refuses the marks, nothing that is published comes again; then they are made.
func TestMarksOfOfferedRowsAreRetried(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		r.Offer(commit(t, m, 2, 4))
		done(t, r, wantWindow(t, r, true, "a/2", "a/3", "a/4"))
		m.FailWith(func(method string) error {
			if method == "MarkPublished" {
				return errors.New("no marks")
			}
			return nil
		})
		time.AfterFunc(3*time.Second, func() { m.FailWith(nil) })
		time.AfterFunc(10*time.Second, func() { r.Offer(commit(t, m, 5, 5)) })
		done(t, r, wantWindow(t, r, true, "a/5"))
		if st, _ := m.Stats(t.Context()); st.Unpublished != 1 {
			t.Errorf("unpublished: got %d, want the last only", st.Unpublished)
		}
	})
}

// A clean stop leaves nothing to publish again.
func TestStopMarksOfferedRows(t *testing.T) {
	t.Parallel()
	var m *outboxtest.Memory
	primed(t, func(t *testing.T, memory *outboxtest.Memory, r *outbox.Relay) {
		m = memory
		r.Offer(commit(t, m, 2, 3))
		done(t, r, wantWindow(t, r, true, "a/2", "a/3"))
	})
	if st, err := m.Stats(t.Context()); err != nil || st.Unpublished != 0 || st.Unstored != 2 {
		t.Errorf("after the stop: got %+v, %v, want 2 published rows", st, err)
	}
}

func TestFailedAndAbandonedOffersComeAgain(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		r.Offer(commit(t, m, 2, 3))
		w := wantWindow(t, r, true, "a/2", "a/3")
		r.Offer(commit(t, m, 4, 4))
		r.Failed(w, errors.New("the broker is away"))
		wantWindow(t, r, false, "a/2", "a/3", "a/4") // and nobody answers
		w = wantWindow(t, r, false, "a/2", "a/3", "a/4")
		done(t, r, w)
		r.Offer(commit(t, m, 5, 5))
		wantWindow(t, r, true, "a/5") // likewise
		wantWindow(t, r, false, "a/5")
	})
}

// More than memory may hold is left to the database, which has it all in order.
func TestOffersBeyondTheBoundAreFetched(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		const many = 10_000
		r.Offer(commit(t, m, 2, many))
		for last := int64(1); last < many; {
			w, _ := next(t, r)
			if w.Offered || w.Rows[0].Seq != last+1 {
				t.Fatalf("window (offered: %v) begins with %d after %d", w.Offered, w.Rows[0].Seq, last)
			}
			last = w.Rows[len(w.Rows)-1].Seq
			done(t, r, w)
		}
	})
}

// A row that comes alone goes at once. Behind many others the next waits a little, and others join it.
func TestAStreamGoesInFewerWindows(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		r.Offer(commit(t, m, 2, 2))
		w, took := next(t, r)
		wantTook(t, "the first", took, 0)
		done(t, r, w)
		r.Offer(commit(t, m, 3, 202))
		time.AfterFunc(10*time.Millisecond, func() { r.Offer(commit(t, m, 203, 203)) })
		time.AfterFunc(15*time.Millisecond, func() { r.Offer(commit(t, m, 204, 204)) })
		w, took = next(t, r)
		if took > time.Millisecond {
			t.Errorf("behind one: took %v", took)
		}
		done(t, r, w)
		w, took = next(t, r)
		if len(w.Rows) != 2 || took > 50*time.Millisecond {
			t.Errorf("behind 200: got %d rows after %v, want both within 50 ms", len(w.Rows), took)
		}
	})
}

// during is a store in which something happens at the beginning of the next fetch.
type during struct {
	*outboxtest.Memory
	fetch func()
}

func (d *during) Fetch(ctx context.Context, shards []int, limit int) ([]outbox.Row, error) {
	if do := d.fetch; do != nil {
		d.fetch = nil
		do()
	}
	return d.Memory.Fetch(ctx, shards, limit)
}

// A row that is offered while a fetch is under way, and found by it, is handed out once; the next one needs no fetch.
func TestOffersDuringAFetchAreHandedOutOnce(t *testing.T) {
	t.Parallel()
	d := &during{}
	tune := func(o *outbox.Options) {
		d.Memory = o.Store.(*outboxtest.Memory)
		o.Store = d
	}
	virtual(t, tune, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		d.fetch = func() { r.Offer(commit(t, m, 1, 2)) }
		done(t, r, wantWindow(t, r, false, "a/1", "a/2"))
		r.Offer(commit(t, m, 3, 3))
		done(t, r, wantWindow(t, r, true, "a/3"))
	})
}

// Rows of shards that are another's are left to it: of two relays that are offered the same, each hands out its own.
func TestOffersOfOtherShardsAreIgnored(t *testing.T) {
	t.Parallel()
	virtual(t, nil, func(t *testing.T, m *outboxtest.Memory, first *outbox.Relay) {
		second, err := outbox.NewRelay(outbox.Options{Store: m, Owner: "b", Shards: outboxtest.Shards})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- second.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		within := func(r *outbox.Relay, d time.Duration) outbox.Window {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			w, _ := r.Next(ctx) // none in time
			return w
		}
		<-time.After(outbox.DefaultLeaseTTL) // virtual; each has its share
		both := []*outbox.Relay{first, second}
		for _, r := range both {
			within(r, time.Millisecond)
		}
		var rows []outbox.Row
		for i := range 4 * outboxtest.Shards {
			key := fmt.Sprint("k", i)
			appendRows(t, m, key, 1, 1)
			rows = append(rows, outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: 1})
		}
		got := map[string]int{}
		for _, r := range both {
			r.Offer(rows)
			w := within(r, time.Millisecond)
			if len(w.Rows) == 0 || !w.Offered {
				t.Errorf("got %d rows, offered: %v, want some of those that were offered", len(w.Rows), w.Offered)
			}
			for _, row := range w.Rows {
				got[row.Key]++
			}
		}
		for _, row := range rows {
			if got[row.Key] != 1 {
				t.Errorf("%s was handed out %d times, want once", row.Key, got[row.Key])
			}
		}
	})
}

// What was offered in time is not handed out when the lease has ended since: another may have the shards.
func TestOffersEndWithTheLease(t *testing.T) {
	t.Parallel()
	primed(t, func(t *testing.T, m *outboxtest.Memory, r *outbox.Relay) {
		m.FailWith(func(method string) error {
			if method == "Lease" {
				return errors.New("no lease")
			}
			return nil
		})
		nothing := func(within time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if w, err := r.Next(ctx); err == nil {
				t.Errorf("handed out: %v", w)
			}
		}
		<-time.After(outbox.DefaultLeaseTTL - 200*time.Millisecond) // virtual
		nothing(100 * time.Millisecond)                             // the poll is due long after the lease
		r.Offer(commit(t, m, 2, 2))
		<-time.After(150 * time.Millisecond) // virtual
		nothing(300 * time.Millisecond)
		m.FailWith(nil)
		wantWindow(t, r, false, "a/2")
	})
}
