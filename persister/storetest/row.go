package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rafaeldepontes/go-chat/persister"
)

// row: a stored event is found by its place also above a hole, and what is not stored is told from an outage.
func row(t *testing.T, db Database) {
	s := db.Open(t)
	rows, ok := s.(persister.Rows)
	if !ok {
		return // only a database of an installation is looked at
	}
	mustInsert(t, s, Events("ops", 1, 2))
	mustInsert(t, s, Events("ops", 4, 4))
	if _, err := s.AdvanceWatermarks(t.Context(), []string{"ops"}); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int64{1, 2, 4} {
		got, err := rows.Row(t.Context(), "ops", seq)
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(got.StoredAt); age < -time.Minute || age > time.Minute {
			t.Errorf("seq %d: stored %v ago", seq, age)
		}
		got.StoredAt = time.Time{}
		e := Event("ops", seq)
		if diff := cmp.Diff(persister.Row{ID: e.ID, Sender: e.From, SentAt: e.SentAt, Watermark: 2}, got); diff != "" {
			t.Errorf("seq %d: %s", seq, diff)
		}
	}
	if mark, err := rows.Mark(t.Context(), "ops"); err != nil || mark != 2 {
		t.Errorf("mark: got %d, %v, want 2", mark, err)
	}
	if _, err := rows.Row(t.Context(), "ops", 3); !errors.Is(err, persister.ErrNotStored) {
		t.Errorf("a hole: got %v, want %v", err, persister.ErrNotStored)
	}
	rowsAsAWhole(t, s, rows)
}

// rowsAsAWhole: the marks are told where they could go, and stay; rooms and runs are told also where no mark ever was.
func rowsAsAWhole(t *testing.T, s persister.Store, rows persister.Rows) {
	t.Helper()
	mustInsert(t, s, Events("ops", 3, 3)) // the mark stays at 2
	mustInsert(t, s, Events("ghost", 7, 7))
	mustInsert(t, s, Events("zoo", 1, 30))
	marks, err := rows.Marks(t.Context(), []string{"ops", "ghost", "zoo", "nobody's", "ops"})
	if diff := cmp.Diff(map[string]int64{"ops": 4, "ghost": 0, "zoo": 30, "nobody's": 0}, marks); diff != "" || err != nil {
		t.Errorf("marks: %v\n%s", err, diff)
	}
	if mark, err := rows.Mark(t.Context(), "ops"); err != nil || mark != 2 {
		t.Errorf("looking moved the mark to %d, %v", mark, err)
	}
	for _, tt := range []struct {
		after string
		limit int
		want  []persister.RoomRows
	}{
		{"", 10, []persister.RoomRows{{Room: "ghost", Last: 7}, {Room: "ops", Last: 4}, {Room: "zoo", Last: 30}}},
		{"", 2, []persister.RoomRows{{Room: "ghost", Last: 7}, {Room: "ops", Last: 4}}},
		{"ops", 2, []persister.RoomRows{{Room: "zoo", Last: 30}}},
		{"zoo", 2, nil},
	} {
		got, err := rows.Rooms(t.Context(), tt.after, tt.limit)
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("%d rooms after %q: %v\n%s", tt.limit, tt.after, err, diff)
		}
	}
	mustInsert(t, s, Events("zoo", 33, 34))
	mustInsert(t, s, Events("zoo", 40, 40))
	for _, tt := range []struct {
		after, upto int64
		limit       int
		want        []persister.Run
	}{
		{0, 50, 10, []persister.Run{{From: 1, To: 30}, {From: 33, To: 34}, {From: 40, To: 40}}},
		{10, 33, 10, []persister.Run{{From: 11, To: 30}, {From: 33, To: 33}}},
		{0, 50, 1, []persister.Run{{From: 1, To: 30}}},
		{40, 50, 1, nil},
	} {
		got, err := rows.Runs(t.Context(), "zoo", tt.after, tt.upto, tt.limit)
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("runs %d to %d: %v\n%s", tt.after, tt.upto, err, diff)
		}
	}
	e := Event("zoo", 34)
	for _, sender := range []string{"", e.From, "nobody"} {
		var want []persister.Place
		if sender != "nobody" {
			want = []persister.Place{{Room: "zoo", Seq: 34, ID: e.ID, Sender: e.From}}
		}
		got, err := rows.Find(t.Context(), sender, e.ID, 5)
		got = slices.DeleteFunc(got, func(p persister.Place) bool { return p.Room != "zoo" })
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("find from %q: %v\n%s", sender, err, diff)
		}
	}
	if n, err := rows.Count(t.Context(), "zoo", 34); err != nil || n != 32 {
		t.Errorf("count: got %d, %v, want 32", n, err)
	}
}
