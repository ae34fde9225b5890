package outbox_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) outboxtest.Backend{"postgres": openPostgres, "sqlite": openSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			s := b.Store.(outbox.Inspector)
			row := func(key string, seq int64) outbox.Row { return outbox.Row{Key: key, Seq: seq, Payload: []byte("x")} }
			var rows []outbox.Row
			for _, seq := range []int64{2, 3, 4, 7, 9, 10} {
				rows = append(rows, row("b", seq))
			}
			for _, rs := range [][]outbox.Row{rows, {row("a", 1)}, {row("c", 1)}} {
				if err := b.Append(t.Context(), rs); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.MarkPublished(t.Context(), rows[:4]); err != nil {
				t.Fatal(err)
			}
			spans, err := s.Spans(t.Context(), []string{"nobody", "b", "a"})
			if err != nil {
				t.Fatal(err)
			}
			want := []outbox.Span{{"a", 1, 1, 0}, {"b", 2, 4, 3}, {"b", 7, 7, 1}, {"b", 9, 10, 0}}
			if diff := cmp.Diff(want, spans); diff != "" {
				t.Error(diff)
			}
			st, err := s.State(t.Context(), "b", 7)
			if err != nil || st.Attempts != 1 || time.Since(st.CreatedAt) > time.Minute || st.PublishedAt.Before(st.CreatedAt.Add(-time.Second)) {
				t.Errorf("published row: got %+v, %v", st, err)
			}
			if st, err = s.State(t.Context(), "b", 9); err != nil || !st.PublishedAt.IsZero() || st.Attempts != 0 {
				t.Errorf("waiting row: got %+v, %v", st, err)
			}
			if _, err = s.State(t.Context(), "b", 8); !errors.Is(err, outbox.ErrNoRow) {
				t.Errorf("no row: got %v, want %v", err, outbox.ErrNoRow)
			}
			if owners, err := s.Owners(t.Context()); err != nil || len(owners) != 0 {
				t.Errorf("before a lease: got %v, %v", owners, err)
			}
			if _, err := s.Lease(t.Context(), "one", 4, time.Minute); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Lease(t.Context(), "gone", 4, time.Nanosecond); err != nil {
				t.Fatal(err)
			}
			if owners, err := s.Owners(t.Context()); err != nil || !cmp.Equal(owners, []string{"one"}) {
				t.Errorf("one is present, one's time is over: got %v, %v", owners, err)
			}
		})
	}
}
