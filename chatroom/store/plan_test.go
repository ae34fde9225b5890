package store_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// The update that locks the rooms walks them by name, in the arguments' order or the index's, and so do all replicas: no plan
// reads them as they lie in the table, with few rooms or many, before the first ANALYZE or after, for these arguments or for any.
// The rows themselves are neither joined by a hash or a merge, nor sorted, nor kept.
func TestAcceptingLocksRoomsByName(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, given := range []string{
		"SELECT 1",
		"INSERT INTO chatroom.rooms (room) VALUES ('room2'), ('room1')",
		"ANALYZE chatroom.rooms",
		"INSERT INTO chatroom.rooms (room) SELECT 'other' || n FROM generate_series(1, 20000) AS n",
		"ANALYZE chatroom.rooms",
	} {
		exec(given)
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			exec("SET plan_cache_mode = " + mode)
			exec("PREPARE looked_at (" + store.FreshTypes + ") AS " + store.FreshSQL)
			rows, err := conn.Query(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE looked_at ("+store.FreshArgs+")", pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(lines, "\n")
			rooms, rest, found := strings.Cut(plan, "CTE keys")
			if !strings.Contains(rooms, "Index Scan using rooms_pkey on rooms r") || !found {
				t.Errorf("after %s, %s, rooms are not locked by name:\n%s", given, mode, plan)
			}
			if kept := regexp.MustCompile("Sort|Hash|Merge|Function Scan|Materialize").FindString(rest); kept != "" {
				t.Errorf("after %s, %s, rows are copied (%s):\n%s", given, mode, kept, plan)
			}
			exec("DEALLOCATE looked_at")
		}
	}
}
