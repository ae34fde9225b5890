package outbox_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// A broker was away for long: 500,000 rows wait, beside 100,000 published ones of a persister that is away as well. SQLite
// gets a hundredth, in smaller windows: its engine is Go, and filling it takes minutes under the race detector.
const (
	waiting         = 500_000
	published       = 100_000
	waitingSQLite   = waiting / 100
	publishedSQLite = published / 100
)

const fillPostgres = `
INSERT INTO chatroom.outbox (shard, key, seq, payload, published_at)
SELECT k % 16, 'room' || k, n / 1000 + 1, convert_to(repeat('x', 100), 'UTF8'), CASE WHEN n < $1 THEN now() END
FROM generate_series(0, $1::int + $2::int - 1) AS n, LATERAL (SELECT n % 1000 AS k) AS r`

// fillSQLite goes key by key, so that both indexes grow at their end.
const fillSQLite = `
WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < ?1 + ?2 - 1)
INSERT INTO outbox (shard, key, seq, payload, published_at)
SELECT n / 600 % 16, printf('room%05d', n / 600), n % 600 + 1, zeroblob(100),
       CASE WHEN n < ?1 THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER) END FROM s`

func fillLarge(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	mustExec(tb, pool, `ALTER TABLE chatroom.outbox SET UNLOGGED`) // only to fill it faster
	mustExec(tb, pool, fillPostgres, published, waiting)
}

func TestPostgresWithManyRowsWaiting(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	vacuumEmpty(t, pool)
	fillLarge(t, pool)
	t.Run("PlansWalkAlongAnIndex", func(t *testing.T) { checkPlans(t, pool) })
	t.Run("WindowsAreBounded", func(t *testing.T) { checkBounded(t, outbox.Postgres{Pool: pool}, outbox.DefaultWindow, waiting) })
}

// vacuumEmpty leaves the outbox with the statistics that mislead most: pages without a row, as it is before an outage.
func vacuumEmpty(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	mustExec(tb, pool, `ALTER TABLE chatroom.outbox SET (autovacuum_enabled = off), SET UNLOGGED`)
	mustExec(tb, pool, fillPostgres, 0, 10_000)
	mustExec(tb, pool, `DELETE FROM chatroom.outbox`)
	mustExec(tb, pool, `VACUUM (TRUNCATE false) chatroom.outbox`)
}

func TestSQLiteWithManyRowsWaiting(t *testing.T) {
	t.Parallel()
	file := dbtest.SQLite(t, migrations.Chatroom)
	if _, err := file.Writer.ExecContext(t.Context(), fillSQLite, publishedSQLite, waitingSQLite); err != nil {
		t.Fatal(err)
	}
	checkBounded(t, outbox.SQLite{DB: file.Writer, Read: file.Reader}, 128, waitingSQLite)
}

// The plans are judged as those of one execution, and as the generic ones that a long-lived connection uses.
func checkPlans(t *testing.T, pool *pgxpool.Pool) {
	shards := []any{1024, outbox.WindowBytes}
	for i := range 16 {
		shards = append(shards, int16(i))
	}
	keys, seqs := []string{"room1", "room2"}, []int64{1, 1}
	for name, q := range map[string]struct {
		sql  string
		args []any
	}{
		"fetch":     {outbox.Fetch16, shards},
		"mark":      {outbox.Mark, []any{keys, seqs, seqs}},
		"remove":    {outbox.RemoveRows, []any{keys, seqs}},
		"unstored":  {outbox.Unstored, []any{"", []int{1, 2, 3}, time.Hour, 512}},
		"republish": {outbox.Republish, []any{"room1", int64(3), 100}},
		"oldest":    {outbox.Oldest, []any{[]int{1, 2, 3}}},
	} {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			plan := planOf(t, pool, mode, q.sql, q.args)
			for _, bad := range []string{"Seq Scan", "Sort", "Hash", "Bitmap", "Join Filter"} {
				// "Sort Key" belongs to a Merge Append.
				if strings.Contains(strings.ReplaceAll(plan, "Sort Key", ""), bad) {
					t.Errorf("%s, %s: got a plan with %s:\n%s", name, mode, bad, plan)
				}
			}
		}
	}
}

func planOf(t *testing.T, pool *pgxpool.Pool, mode, query string, args []any) string {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	for _, s := range []string{`SET LOCAL plan_cache_mode = ` + mode, outbox.PlanByIndex} {
		if _, err := tx.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	res, err := tx.Query(t.Context(), "EXPLAIN (COSTS OFF) "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(res, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// checkBounded relays a part of the backlog, and looks at the size of the windows and of the heap.
func checkBounded(t *testing.T, s outbox.Store, window int, waiting int64) {
	r, err := outbox.NewRelay(outbox.Options{
		Store: s, Owner: "a", Shards: outboxtest.Shards, Window: window, RepublishAfter: time.Hour, // no sweep in between
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	last := map[string]int64{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		w, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Rows) != window {
			t.Fatalf("window: got %d rows, want %d", len(w.Rows), window)
		}
		for _, row := range w.Rows {
			if l, ok := last[row.Key]; ok && row.Seq != l+1 {
				t.Fatalf("%s/%d comes after %d", row.Key, row.Seq, l)
			}
			last[row.Key] = row.Seq
		}
		if err := r.Done(ctx, w); err != nil {
			t.Fatal(err)
		}
		r.Stored(map[string]int64{w.Rows[0].Key: w.Rows[0].Seq})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const bound = 32 << 20 // other tests run beside this one
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > bound {
		t.Errorf("heap grew by %d bytes over 20 windows, want less than %d", grown, bound)
	}
	st, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := min(outbox.StatsExact, waiting-20*int64(window)); st.Unpublished < want {
		t.Errorf("stats: got %+v, want at least %d unpublished", st, want)
	}
}
