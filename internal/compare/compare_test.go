package compare_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/compare"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// What is too much to count is said, and what is counted has no hole that is not named.
func TestCountingIsBoundedAndSaysSo(t *testing.T) {
	t.Parallel()
	rooms, kept := dbtest.SQLite(t, migrations.Chatroom), dbtest.SQLite(t, migrations.Persister)
	for room, n := range map[string]int{"a": 6, "b": 9, "c": 4} {
		if _, err := rooms.Writer.ExecContext(t.Context(), `INSERT INTO rooms (room, head) VALUES (?, ?)`, room, n); err != nil {
			t.Fatal(err)
		}
		for seq := range n {
			if _, err := kept.Writer.ExecContext(t.Context(), `INSERT INTO messages (room, seq, kind, id, sender, body, sent_at)
				VALUES (?, ?, 'message', 'x', 'ann', '', 0)`, room, seq+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows := persister.NewSQLite(kept.Writer, kept.Reader)
	if _, err := rows.AdvanceWatermarks(t.Context(), []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Writer.ExecContext(t.Context(), `DELETE FROM messages WHERE seq = 2`); err != nil {
		t.Fatal(err)
	}
	hole := func(room string) outbox.Span { return outbox.Span{Key: room, From: 2, To: 2} }
	r := compare.Reconciliation(store.NewSQLite(rooms), outbox.SQLite{Read: rooms.Reader}, rows)
	for _, tt := range []struct {
		most int64
		want outbox.Reconciled
	}{
		{10, outbox.Reconciled{Keys: 3, Counted: 10, Uncounted: 1, Holes: []outbox.Span{hole("a"), hole("c")}}},
		{0, outbox.Reconciled{Keys: 3, Uncounted: 3}},
		{-1, outbox.Reconciled{Keys: 3, Counted: 19, Holes: []outbox.Span{hole("a"), hole("b"), hole("c")}}},
	} {
		t.Run(fmt.Sprint(tt.most), func(t *testing.T) {
			r.CountRows = tt.most
			got, _ := r.Run(t.Context())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
