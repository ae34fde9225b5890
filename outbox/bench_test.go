package outbox_test

import (
	"fmt"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// BenchmarkCycle is what a window of 1,024 rows of 64 keys costs the relay: fetch, mark and remove.
func BenchmarkCycle(b *testing.B) {
	for name, open := range map[string]func(testing.TB) outboxtest.Backend{"postgres": openPostgres, "sqlite": openSQLite} {
		b.Run(name, func(b *testing.B) { benchmarkCycle(b, open(b)) })
	}
}

// BenchmarkCycleBehindABacklog is the same in PostgreSQL with 500,000 rows waiting and 100,000 published ones.
func BenchmarkCycleBehindABacklog(b *testing.B) {
	pool, _ := dbtest.Postgres(b)
	fillLarge(b, pool)
	mustExec(b, pool, `ALTER TABLE chatroom.outbox SET LOGGED`)
	mustExec(b, pool, `CHECKPOINT`)
	b.ResetTimer()
	benchmarkCycle(b, outboxtest.Backend{Store: outbox.Postgres{Pool: pool}})
}

func benchmarkCycle(b *testing.B, backend outboxtest.Backend) {
	const keys = 64
	shards := make([]int, outboxtest.Shards)
	for i := range shards {
		shards[i] = i
	}
	ctx := b.Context()
	seq := int64(0)
	for b.Loop() {
		if backend.Append != nil {
			b.StopTimer()
			var rows []outbox.Row
			for range outbox.DefaultWindow / keys {
				seq++
				for k := range keys {
					key := fmt.Sprint("room", k)
					rows = append(rows, outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: seq, Payload: make([]byte, 300)})
				}
			}
			if err := backend.Append(ctx, rows); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		rows, err := backend.Store.Fetch(ctx, shards, outbox.DefaultWindow)
		if err != nil || len(rows) != outbox.DefaultWindow {
			b.Fatal(len(rows), err)
		}
		if err := backend.Store.MarkPublished(ctx, rows); err != nil {
			b.Fatal(err)
		}
		marks := map[string]int64{}
		for _, r := range rows {
			marks[r.Key] = max(marks[r.Key], r.Seq)
		}
		if _, err := backend.Store.Remove(ctx, marks); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(outbox.DefaultWindow*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
