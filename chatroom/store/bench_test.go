package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// BenchmarkAccept measures one caller that accepts batches of 100-byte texts in 8 rooms, one commit each, beside a bare
// insert of the same rows in one statement, which is the floor.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("postgres/", size), func(b *testing.B) {
			pool, _ := dbtest.Postgres(b)
			benchmarkAccept(b, store.NewPostgres(pool), size)
		})
		b.Run(fmt.Sprint("sqlite/", size), func(b *testing.B) {
			benchmarkAccept(b, store.NewSQLite(dbtest.SQLite(b, migrations.Chatroom)), size)
		})
		b.Run(fmt.Sprint("bare-insert/", size), func(b *testing.B) {
			pool, _ := dbtest.Postgres(b)
			benchmark(b, size, func(ctx context.Context, batch []store.Send, first int) error {
				n := len(batch)
				rooms, ids, senders, texts := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
				seqs, times := make([]int64, n), make([]time.Time, n)
				for i, s := range batch {
					rooms[i], ids[i], senders[i], texts[i], seqs[i], times[i] = s.Room, s.ID, s.Sender, s.Text, int64(first+i+1), s.SentAt
				}
				_, err := pool.Exec(ctx, `INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
					SELECT r, s, 'message', i, f, t, a FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
					AS m(r, s, i, f, t, a)`, rooms, seqs, ids, senders, texts, times)
				return err
			})
		})
	}
}

func benchmarkAccept(b *testing.B, s store.Store, size int) {
	b.Helper()
	benchmark(b, size, func(ctx context.Context, batch []store.Send, _ int) error {
		_, err := s.Accept(ctx, batch)
		return err
	})
}

func benchmark(b *testing.B, size int, commit func(ctx context.Context, batch []store.Send, first int) error) {
	b.Helper()
	text := fmt.Sprintf("%0100d", 0)
	batch := make([]store.Send, size)
	n := 0
	for b.Loop() {
		for i := range batch {
			batch[i] = store.Send{
				Sender: fmt.Sprint("user", n%50), ID: fmt.Sprintf("0193b1c2-%08d-7000-8000", n+i), Room: fmt.Sprint("room", i%8), Text: text,
				SentAt: time.UnixMilli(1767366245678).UTC(),
			}
		}
		if err := commit(b.Context(), batch, n); err != nil {
			b.Fatal(err)
		}
		n += size
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
