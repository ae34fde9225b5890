// Package storetest is the conformance suite of [persister.Store]: what every database under the persister must do. It
// starts goroutines only inside a test, and waits for them.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
)

// Database is a fresh, migrated database of one test.
type Database struct {
	// Open gives a store on it; each call gives one as another process would have it, where the database allows several.
	Open func(tb testing.TB) persister.Store
}

// Run runs the suite. fresh makes a database that is removed with the test.
func Run(t *testing.T, fresh func(tb testing.TB) Database) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, db Database)
	}{
		{"RedeliveredEventIsStoredOnce", redelivered},
		{"OtherContentUnderASeqIsPermanentAndAlone", conflict},
		{"BadRowFailsAlone", badRows},
		{"EventComesBackAsItWas", roundTrip},
		{"RowIsFoundAlone", row},
		{"SameKeysInOtherOrderDoNotDeadlock", sameKeys},
		{"OutageIsNotPermanent", outage},
		{"WatermarkIsContiguous", contiguous},
		{"WatermarkNeverPassesAHoleWithTwoWriters", twoWriters},
		{"WatermarkOfALongRoomIsFoundInSteps", longRoom},
		{"WatermarksOfManyRooms", manyRooms},
		{"PagesAreKeyset", pages},
		{"PagesAreBoundedByBytes", pageBytes},
		{"PageIsNeverAboveTheWatermark", pageBelowWatermark},
		{"PageShowsWhatNobodyAnnounced", pageAdvances},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, fresh(t))
		})
	}
}

// Event is event seq of a room, as the tests know it.
func Event(room string, seq int64) events.MessageSent {
	return events.MessageSent{
		Room: room, Seq: seq, Kind: events.KindMessage, ID: fmt.Sprintf("id-%d", seq), From: "ann",
		Text: fmt.Sprintf("text %d of %s", seq, room), SentAt: time.UnixMilli(1_790_000_000_000 + seq%1_000_000).UTC(),
	}
}

// Events are the events first to last of a room.
func Events(room string, first, last int64) []events.MessageSent {
	evs := make([]events.MessageSent, 0, last-first+1)
	for seq := first; seq <= last; seq++ {
		evs = append(evs, Event(room, seq))
	}
	return evs
}

func redelivered(t *testing.T, db Database) {
	s, other := db.Open(t), db.Open(t)
	evs := Events("ops", 1, 20)
	mustInsert(t, s, evs)
	mustInsert(t, s, evs)                                                              // again
	mustInsert(t, other, evs[5:15])                                                    // by another process
	mustInsert(t, other, append(Events("ops", 15, 30), Events("ops", 15, 30)...))      // half new, and twice in one batch
	mustInsert(t, s, []events.MessageSent{Event("ops", 31), evs[0], Event("ops", 31)}) // unsorted
	if diff := cmp.Diff(Events("ops", 1, 31), all(t, s, "ops")); diff != "" {
		t.Error(diff)
	}
}

func conflict(t *testing.T, db Database) {
	s := db.Open(t)
	mustInsert(t, s, Events("ops", 1, 10))
	change := []func(*events.MessageSent){
		func(e *events.MessageSent) { e.Kind = "edit" },
		func(e *events.MessageSent) { e.ID += "x" },
		func(e *events.MessageSent) { e.From = "bob" },
		func(e *events.MessageSent) { e.Text = "" },
		func(e *events.MessageSent) { e.SentAt = e.SentAt.Add(time.Millisecond) },
	}
	var batch []events.MessageSent
	for i, f := range change {
		other := Event("ops", int64(i+1))
		f(&other)
		batch = append(batch, other, Event("ops", int64(11+i)), Event("ops", int64(i+1)))
	}
	errs := insert(t, s, batch)
	for i, err := range errs {
		wantErr := i%3 == 0
		if wantErr != (err != nil) {
			t.Errorf("event %d of the batch: error %v, want one: %v", i, err, wantErr)
		}
		if wantErr {
			mustBePermanent(t, err, persister.ErrConflict)
		}
	}
	// Two contents of one seq that is new: one of them is stored, the other refused.
	a, b := Event("ops", 16), Event("ops", 16)
	b.Text = "other"
	errs = insert(t, s, []events.MessageSent{a, b})
	if errs[0] != nil {
		t.Errorf("first of two contents in a batch: %v, want it stored", errs[0])
	}
	mustBePermanent(t, errs[1], persister.ErrConflict)
	if diff := cmp.Diff(Events("ops", 1, 16), all(t, s, "ops")); diff != "" {
		t.Error(diff)
	}
}

func badRows(t *testing.T, db Database) {
	s := db.Open(t)
	long := string(make([]byte, 300))
	bad := []func(*events.MessageSent){
		func(e *events.MessageSent) { e.Text = "a\x00b" },
		func(e *events.MessageSent) { e.From = "\x00" },
		func(e *events.MessageSent) { e.ID = "\x00" },
		func(e *events.MessageSent) { e.Kind = "\x00" },
		func(e *events.MessageSent) { e.Room = "r\x00" },
		func(e *events.MessageSent) { e.Text = "\xff\xfe" },
		func(e *events.MessageSent) { e.Text = fmt.Sprintf("%*d", persister.MaxEventBytes, 1) },
		func(e *events.MessageSent) { e.Room = long },
		func(e *events.MessageSent) { e.Room = "" },
		func(e *events.MessageSent) { e.From = "" },
		func(e *events.MessageSent) { e.Seq = 0 },
		func(e *events.MessageSent) { e.Seq = -5 },
		func(e *events.MessageSent) { e.SentAt = time.Time{}.AddDate(-1, 0, 0) },
		func(e *events.MessageSent) { e.SentAt = time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	}
	batch := Events("ops", 1, 300)
	place := map[int]bool{}
	for i, f := range bad {
		at := i * 20
		e := Event("bad", int64(i+1))
		f(&e)
		batch[at], place[at] = e, true
	}
	for i, err := range insert(t, s, batch) {
		switch {
		case place[i]:
			mustBePermanent(t, err, persister.ErrBadEvent)
		case err != nil:
			t.Errorf("good event %d: %v", i, err)
		}
	}
	for i := range bad { // fill what the bad ones took the place of: everything else must be there
		mustInsert(t, s, []events.MessageSent{Event("ops", int64(i*20+1))})
	}
	if diff := cmp.Diff(Events("ops", 1, 300), all(t, s, "ops")); diff != "" {
		t.Error(diff)
	}
}

func roundTrip(t *testing.T, db Database) {
	s := db.Open(t)
	berlin := time.FixedZone("CET", 3600)
	evs := Events("röm.1", 1, 4)
	evs[0].Text, evs[0].From = "héllo 🌍 \u2028 \\ ' \" {,} NULL \t\n", `an"n,{}`
	evs[1].Text = ""
	evs[2].SentAt = time.Date(2026, 1, 2, 15, 4, 5, 678e6, berlin)
	evs[3].SentAt = time.Date(2026, 1, 2, 15, 4, 5, 678_999_999, time.UTC) // the contract has whole milliseconds
	mustInsert(t, s, evs)
	mustInsert(t, s, evs)
	want := append([]events.MessageSent(nil), evs...)
	want[2].SentAt, want[3].SentAt = evs[2].SentAt.UTC(), evs[3].SentAt.Truncate(time.Millisecond)
	if diff := cmp.Diff(want, all(t, s, "röm.1")); diff != "" {
		t.Error(diff)
	}
}

// sameKeys: several processes were sent the same events, none of them stored yet, each in another order, and start at
// the same moment. Who takes its locks in the order of arrival ends in a deadlock here.
func sameKeys(t *testing.T, db Database) {
	const writers, rounds, each = 4, 6, 100
	rooms := []string{"a", "b", "c"}
	stores := make([]persister.Store, writers)
	for w := range stores {
		stores[w] = db.Open(t)
	}
	for round := range int64(rounds) {
		start := make(chan struct{})
		result := make(chan error, writers)
		for w, s := range stores {
			var evs []events.MessageSent
			for _, room := range rooms {
				evs = append(evs, Events(room, round*each+1, round*each+each)...)
			}
			rnd := rand.New(rand.NewPCG(uint64(w), uint64(round)))
			rnd.Shuffle(len(evs), func(i, j int) { evs[i], evs[j] = evs[j], evs[i] })
			go func() {
				<-start
				err := joined(s.Insert(context.Background(), evs))
				if err == nil {
					_, err = s.AdvanceWatermarks(context.Background(), rooms)
				}
				result <- err
			}()
		}
		close(start)
		for range writers {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
	}
	for _, room := range rooms {
		if diff := cmp.Diff(Events(room, 1, rounds*each), all(t, stores[0], room)); diff != "" {
			t.Error(diff)
		}
	}
}

func outage(t *testing.T, db Database) {
	s := db.Open(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	errs, err := s.Insert(gone, Events("ops", 1, 3))
	if err == nil || events.IsPermanent(err) || errs != nil {
		t.Errorf("insert with a dead context: %v, %v; want an error that is not permanent", errs, err)
	}
	if _, err := s.AdvanceWatermarks(gone, []string{"ops"}); err == nil {
		t.Error("watermarks with a dead context: no error")
	}
	if _, err := s.Page(gone, persister.PageQuery{Room: "ops", Limit: 1, MaxBytes: 1}); err == nil {
		t.Error("page with a dead context: no error")
	}
	mustInsert(t, s, Events("ops", 1, 3)) // and it heals
	mustInsert(t, s, nil)
}
