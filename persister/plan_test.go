package persister_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/persister"
)

// The cost of every statement depends on what it is asked for, never on what is stored: none reads the table through,
// neither with the plan for its arguments nor with the one for any, neither before the first ANALYZE nor after.
func TestNoStatementReadsTheWholeTable(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	fill(t, pool, "long", 100_000)
	if _, err := pool.Exec(t.Context(), `
		INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
		SELECT 'room' || r, s, 'message', s::text, 'ann', 'text', now() FROM generate_series(1, 200) r, generate_series(1, 50) s`); err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, analyzed := range []string{"SELECT 1", "ANALYZE persister.messages, persister.watermarks"} {
		exec(t, conn, analyzed)
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			exec(t, conn, "SET plan_cache_mode = "+mode)
			for _, s := range persister.Statements {
				exec(t, conn, "PREPARE looked_at ("+s.Types+") AS "+s.SQL)
				plan := explain(t, conn, s.Args)
				if strings.Contains(plan, "Seq Scan on messages") {
					t.Errorf("%s, after %s, %s:\n%s", s.Name, analyzed, mode, plan)
				}
				exec(t, conn, "DEALLOCATE looked_at")
			}
		}
	}
}

func explain(tb testing.TB, conn *pgxpool.Conn, args string) string {
	tb.Helper()
	rows, err := conn.Query(tb.Context(), "EXPLAIN EXECUTE looked_at ("+args+")", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		tb.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func exec(tb testing.TB, conn *pgxpool.Conn, statement string) {
	tb.Helper()
	if _, err := conn.Exec(tb.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// fill stores the events 1 to head of a room without a watermark, inside the database.
func fill(tb testing.TB, pool *pgxpool.Pool, room string, head int) {
	tb.Helper()
	if _, err := pool.Exec(tb.Context(), `
		INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
		SELECT $1, s, 'message', s::text, 'ann', repeat('x', 100), now() FROM generate_series(1, $2::bigint) s`, room, head); err != nil {
		tb.Fatal(err)
	}
}
