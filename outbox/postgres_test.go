package outbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// Two transactions take their ids in one order and commit in the other. A relay that remembered the highest id it saw would
// skip the row that commits last.
func TestOutOfOrderCommitsSkipNothing(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	store := outbox.Postgres{Pool: pool}
	begin := func(key string) pgx.Tx {
		t.Helper()
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		row := outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: 1, Payload: []byte(key)}
		if err := appendPostgres(t.Context(), tx, []outbox.Row{row}); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	fetch := func() (keys []string) {
		t.Helper()
		shards := make([]int, outboxtest.Shards)
		for i := range shards {
			shards[i] = i
		}
		rows, err := store.Fetch(t.Context(), shards, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			keys = append(keys, r.Key)
		}
		if err := store.MarkPublished(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	slow, fast := begin("slow"), begin("fast") // the lower id is the slow one's
	if err := fast.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); len(got) != 1 || got[0] != "fast" {
		t.Fatalf("before the slow commit: got %v, want [fast]", got)
	}
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); len(got) != 1 || got[0] != "slow" {
		t.Fatalf("after the slow commit: got %v, want [slow]", got)
	}
}
