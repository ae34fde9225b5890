package store_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// freshArgs are arguments of store.FreshSQL: so many rooms, and so many sends, all to the first room.
func freshArgs(rooms, sends int) string {
	names, counts := make([]string, rooms), make([]string, rooms)
	for i := range rooms {
		names[i], counts[i] = fmt.Sprintf("'other%d'", i+1), "0"
	}
	counts[0] = fmt.Sprint(sends)
	all := func(value string) string { return fmt.Sprintf("array_fill(%s, ARRAY[%d])", value, sends) }
	empty, text, one := all(`''::bytea`), all(`'a'::text`), all(`1::bigint`)
	return strings.Join([]string{
		empty, empty, empty, text, all(`sha256('')`), "ARRAY[" + strings.Join(names, ", ") + "]", "ARRAY[" + strings.Join(counts, ", ") + "]::bigint[]",
		text, text, one, one, all("now()"), all("1::smallint"), text, one, one,
	}, ", ")
}

// The update that locks the rooms walks them by name, in the arguments' order or the index's, and so do all replicas: with few
// rooms or many, before the first ANALYZE or after, for these arguments or for any. The rows that follow are neither joined by a
// hash or a merge, nor sorted, nor kept.
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
	outOfOrder := regexp.MustCompile("Seq Scan|Bitmap|Hash|Merge|Sort")
	arrays := regexp.MustCompile(`'\{[^']*\}'`)
	copied := regexp.MustCompile("Sort|Hash|Merge|Function Scan|Materialize")
	for _, given := range []string{
		"SELECT 1",
		"INSERT INTO chatroom.rooms (room) VALUES ('other2'), ('other1')",
		"ANALYZE chatroom.rooms",
		"INSERT INTO chatroom.rooms (room) SELECT 'other' || n FROM generate_series(3, 20000) AS n",
		"ANALYZE chatroom.rooms",
	} {
		exec(given)
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			exec("SET plan_cache_mode = " + mode)
			for _, size := range [][2]int{{2, 2}, {64, 1024}, {1000, 1024}} {
				exec("PREPARE looked_at (" + store.FreshTypes + ") AS " + store.FreshSQL)
				rows, err := conn.Query(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE looked_at ("+freshArgs(size[0], size[1])+")", pgx.QueryExecModeSimpleProtocol)
				if err != nil {
					t.Fatal(err)
				}
				lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				plan := arrays.ReplaceAllString(strings.Join(lines, "\n"), "'{…}'")
				of := fmt.Sprintf("%d rooms and %d sends after %s, %s", size[0], size[1], given, mode)
				update, rest, _ := strings.Cut(plan, "CTE heads")
				_, inserts, found := strings.Cut(rest, "CTE keys")
				if found := outOfOrder.FindString(update); found != "" || !strings.Contains(update, "Index Scan using rooms_pkey on rooms r") {
					t.Errorf("%s: rooms are not locked by name (%s):\n%s", of, found, plan)
				}
				if kept := copied.FindString(inserts); kept != "" || !found {
					t.Errorf("%s: rows are copied (%s):\n%s", of, kept, plan)
				}
				exec("DEALLOCATE looked_at")
			}
		}
	}
}

// A relay that fetches goes by id, so in each room the ids of the outbox count up with the seqs, however the sends of a batch are
// mixed and wherever their keys stand in their order.
func TestPostgresNumbersTheOutboxInOrder(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	p := store.NewPostgres(pool)
	var sends []store.Send
	for i := range 300 {
		sends = append(sends, store.Send{
			Sender: fmt.Sprint("user", i*7%10), ID: fmt.Sprint((300-i)*37%300, "-", i), Room: fmt.Sprint("room", i*11%13), Text: "text", SentAt: time.Now(),
		})
	}
	for range 3 {
		for i := range sends {
			sends[i].ID += "x"
		}
		if _, err := p.Accept(t.Context(), sends); err != nil {
			t.Fatal(err)
		}
	}
	var rows, inOrder int
	const query = `SELECT count(*), count(*) FILTER (WHERE by_id = seq)
		FROM (SELECT seq, row_number() OVER (PARTITION BY key ORDER BY id) AS by_id FROM chatroom.outbox) AS o`
	if err := pool.QueryRow(t.Context(), query).Scan(&rows, &inOrder); err != nil {
		t.Fatal(err)
	}
	if rows != 3*len(sends) || inOrder != rows {
		t.Errorf("of %d rows %d stand in order, want %d", rows, inOrder, 3*len(sends))
	}
}
