package persister_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// inserts notes for each insert whether it was one of new rows only, and how it ended.
type inserts struct{ seen []string }

type insertKey struct{}

func (i *inserts) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	switch {
	case !strings.Contains(q.SQL, "INSERT INTO persister.messages"):
		return ctx
	case strings.Contains(q.SQL, "ON CONFLICT"):
		return context.WithValue(ctx, insertKey{}, "any")
	}
	return context.WithValue(ctx, insertKey{}, "new")
}

func (i *inserts) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryEndData) {
	kind, ok := ctx.Value(insertKey{}).(string)
	if !ok {
		return
	}
	if q.Err != nil {
		kind += ", refused"
	}
	i.seen = append(i.seen, kind)
}

// Events are inserted as new ones. Where some are there already, the insert is refused, and another one stores the rest.
func TestEventsAreInsertedAsNewOnes(t *testing.T) {
	t.Parallel()
	_, url := dbtest.Postgres(t)
	var traced inserts
	pool, err := db.OpenPostgres(t.Context(), url, db.Options{Tracer: &traced})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := persister.NewPostgres(pool)
	for _, step := range []struct {
		from, to int64
		want     []string
	}{
		{1, 10, []string{"new"}},
		{11, 20, []string{"new"}},
		{15, 30, []string{"new, refused", "any"}},
	} {
		traced.seen = nil
		errs, err := s.Insert(t.Context(), storetest.Events("a", step.from, step.to))
		for _, e := range errs {
			if e != nil {
				t.Errorf("events %d to %d: %v", step.from, step.to, e)
			}
		}
		if diff := cmp.Diff(step.want, traced.seen); err != nil || diff != "" {
			t.Errorf("events %d to %d: %v, inserts (-want +got):\n%s", step.from, step.to, err, diff)
		}
	}
	marks, err := s.AdvanceWatermarks(t.Context(), []string{"a"})
	if err != nil || marks["a"] != 30 {
		t.Errorf("got %v, %v, want all 30 stored", marks, err)
	}
}
