package storetest

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
)

func pages(t *testing.T, db Database) {
	s := db.Open(t)
	mustInsert(t, s, Events("other", 1, 100))
	mustInsert(t, s, Events("ops", 1, 50))
	for _, c := range []struct {
		name          string
		after, before int64
		limit         int
		first, last   int64 // 0, 0: empty
		complete      bool
	}{
		{"from the start", 0, 0, 10, 1, 10, false},
		{"in the middle", 10, 0, 10, 11, 20, false},
		{"up to the head", 40, 0, 10, 41, 50, true},
		{"fewer than the limit", 45, 0, 10, 46, 50, true},
		{"all", 0, 0, 1000, 1, 50, true},
		{"exactly all", 0, 0, 50, 1, 50, true},
		{"at the head", 50, 0, 10, 0, 0, true},
		{"above the head", 60, 0, 10, 0, 0, true},
		{"far above the head", math.MaxInt64, 0, 1000, 0, 0, true},
		{"newest", 0, math.MaxInt64, 10, 41, 50, false},
		{"before the middle", 0, 31, 10, 21, 30, false},
		{"before, down to the start", 0, 11, 10, 1, 10, true},
		{"before, fewer than the limit", 0, 6, 10, 1, 5, true},
		{"before the first", 0, 1, 10, 0, 0, true},
		{"before the second", 0, 2, 10, 1, 1, true},
		{"before, all", 0, math.MaxInt64, 1000, 1, 50, true},
		{"one", 7, 0, 1, 8, 8, false},
		{"one before", 0, 8, 1, 7, 7, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := page(t, s, persister.PageQuery{Room: "ops", After: c.after, Before: c.before, Limit: c.limit, MaxBytes: 1 << 20})
			var want []events.MessageSent
			if c.first > 0 {
				want = Events("ops", c.first, c.last)
			}
			if diff := cmp.Diff(want, p.Events); diff != "" {
				t.Error(diff)
			}
			if p.Watermark != 50 || p.Complete != c.complete {
				t.Errorf("watermark %d, complete %v; want 50, %v", p.Watermark, p.Complete, c.complete)
			}
		})
	}
	if p := page(t, s, persister.PageQuery{Room: "nobody", Limit: 10, MaxBytes: 1}); len(p.Events) != 0 || p.Watermark != 0 || !p.Complete {
		t.Errorf("page of an unknown room: %+v, want it empty and complete", p)
	}
}

func pageBytes(t *testing.T, db Database) {
	s := db.Open(t)
	evs := Events("ops", 1, 40)
	for i := range evs {
		evs[i].Text = strings.Repeat("ä", 500) // 1,000 bytes
	}
	evs[19].Text = strings.Repeat("x", 50_000)
	mustInsert(t, s, evs)
	query := func(after, before int64, maxBytes int) persister.Page {
		return page(t, s, persister.PageQuery{Room: "ops", After: after, Before: before, Limit: 1000, MaxBytes: maxBytes})
	}
	p := query(0, 0, 10_000)
	if n := len(p.Events); n < 8 || n > 10 || p.Events[0].Seq != 1 || p.Complete {
		t.Errorf("10,000 bytes of 1,000 each: %d events, complete %v", n, p.Complete)
	}
	p = query(0, 41, 10_000)
	if n := len(p.Events); n < 8 || n > 10 || p.Events[n-1].Seq != 40 || p.Complete {
		t.Errorf("10,000 bytes of 1,000 each, backwards: %d events, complete %v", n, p.Complete)
	}
	p = query(19, 0, 10_000) // one event above the bound still makes a page
	if len(p.Events) != 1 || p.Events[0].Seq != 20 || len(p.Events[0].Text) != 50_000 || p.Complete {
		t.Errorf("a large event first: %d events", len(p.Events))
	}
	if p = query(0, 21, 1); len(p.Events) != 1 || p.Events[0].Seq != 20 {
		t.Errorf("a large event first, backwards: %d events", len(p.Events))
	}
	// Page by page in both directions, whatever the bound: everything once.
	for _, maxBytes := range []int{1, 5000, 60_000, 1 << 20} {
		var got []events.MessageSent
		for after := int64(0); ; {
			p := query(after, 0, maxBytes)
			got = append(got, p.Events...)
			if p.Complete {
				break
			}
			after = p.Events[len(p.Events)-1].Seq
		}
		if diff := cmp.Diff(evs, got); diff != "" {
			t.Errorf("forwards, %d bytes a page: %s", maxBytes, diff)
		}
		got = nil
		for before := int64(math.MaxInt64); ; {
			p := query(0, before, maxBytes)
			got = append(append([]events.MessageSent(nil), p.Events...), got...)
			if p.Complete {
				break
			}
			before = p.Events[0].Seq
		}
		if diff := cmp.Diff(evs, got); diff != "" {
			t.Errorf("backwards, %d bytes a page: %s", maxBytes, diff)
		}
	}
}

func pageBelowWatermark(t *testing.T, db Database) {
	s := db.Open(t)
	mustInsert(t, s, append(Events("ops", 1, 10), Events("ops", 12, 20)...))
	for _, q := range []persister.PageQuery{
		{After: 0}, {After: 8}, {After: 10}, {After: 11}, {After: 15}, {Before: 5}, {Before: 12}, {Before: 15}, {Before: math.MaxInt64},
	} {
		q.Room, q.Limit, q.MaxBytes = "ops", 100, 1<<20
		p := page(t, s, q)
		if p.Watermark != 10 {
			t.Errorf("%+v: watermark %d, want 10", q, p.Watermark)
		}
		if n := len(p.Events); n > 0 && p.Events[n-1].Seq > 10 {
			t.Errorf("%+v: shows seq %d, above a hole", q, p.Events[n-1].Seq)
		}
	}
	if diff := cmp.Diff(Events("ops", 1, 10), all(t, s, "ops")); diff != "" {
		t.Error(diff)
	}
	mustInsert(t, s, Events("ops", 11, 11))
	if diff := cmp.Diff(Events("ops", 1, 20), all(t, s, "ops")); diff != "" {
		t.Error(diff)
	}
}

// pageAdvances: a persister that died between its commit and its announcement leaves a mark that is too low for ever,
// if nobody writes to the room again.
func pageAdvances(t *testing.T, db Database) {
	s := db.Open(t)
	mustInsert(t, s, Events("ops", 1, 5))
	if got := mark(t, s, "ops"); got != 5 {
		t.Fatalf("watermark is %d, want 5", got)
	}
	mustInsert(t, s, Events("ops", 6, 9))
	for _, q := range []persister.PageQuery{{After: 5}, {After: 7}, {Before: math.MaxInt64}} {
		q.Room, q.Limit, q.MaxBytes = "ops", 2, 1<<20
		if p := page(t, db.Open(t), q); p.Watermark != 9 || len(p.Events) != 2 {
			t.Errorf("%+v: watermark %d and %d events, want 9 and 2", q, p.Watermark, len(p.Events))
		}
	}
}

func page(t *testing.T, s persister.Store, q persister.PageQuery) persister.Page {
	t.Helper()
	p, err := s.Page(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func all(t *testing.T, s persister.Store, room string) []events.MessageSent {
	t.Helper()
	p := page(t, s, persister.PageQuery{Room: room, Limit: 100_000, MaxBytes: math.MaxInt32})
	if !p.Complete {
		t.Fatalf("%s: page of everything is not complete", room)
	}
	return p.Events
}

func mark(t *testing.T, s persister.Store, room string) int64 {
	t.Helper()
	marks, err := s.AdvanceWatermarks(context.Background(), []string{room})
	if err != nil {
		t.Fatal(err)
	}
	seq, ok := marks[room]
	if !ok {
		t.Fatalf("no watermark for %s", room)
	}
	return seq
}

func insert(t *testing.T, s persister.Store, evs []events.MessageSent) []error {
	t.Helper()
	errs, err := s.Insert(context.Background(), evs)
	if err != nil {
		t.Fatal(err)
	}
	if len(errs) != len(evs) {
		t.Fatalf("%d results for %d events", len(errs), len(evs))
	}
	return errs
}

func mustInsert(t *testing.T, s persister.Store, evs []events.MessageSent) {
	t.Helper()
	if err := errors.Join(insert(t, s, evs)...); err != nil {
		t.Fatal(err)
	}
}

func joined(errs []error, outage error) error { return errors.Join(append(errs, outage)...) }

func mustBePermanent(t *testing.T, err, want error) {
	t.Helper()
	if !events.IsPermanent(err) || !errors.Is(err, want) {
		t.Errorf("error is %v, want a permanent %v", err, want)
	}
}
