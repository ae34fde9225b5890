package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
}
