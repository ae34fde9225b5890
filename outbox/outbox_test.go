package outbox_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	sim.Bound(300, 40)
	goleak.VerifyTestMain(m)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, openPostgres)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, openSQLite)
}

func TestMemory(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, func(testing.TB) outboxtest.Backend {
		m := outboxtest.NewMemory()
		return outboxtest.Backend{Store: m, Append: m.Append}
	})
}

func openPostgres(tb testing.TB) outboxtest.Backend {
	pool, _ := dbtest.Postgres(tb)
	return outboxtest.Backend{Store: outbox.Postgres{Pool: pool}, Append: func(ctx context.Context, rows []outbox.Row) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return appendPostgres(ctx, tx, rows) })
	}}
}

func appendPostgres(ctx context.Context, tx pgx.Tx, rows []outbox.Row) error {
	var b pgx.Batch
	outbox.QueueAppend(&b, rows)
	return tx.SendBatch(ctx, &b).Close()
}

func openSQLite(tb testing.TB) outboxtest.Backend {
	file := dbtest.SQLite(tb, migrations.Chatroom)
	return outboxtest.Backend{
		Store: outbox.SQLite{DB: file.Writer, Read: file.Reader},
		Append: func(ctx context.Context, rows []outbox.Row) error {
			return db.InTx(ctx, file.Writer, func(tx *sql.Tx) error { return outbox.AppendSQLite(ctx, tx, rows) })
		},
	}
}

// mustExec runs a statement that a test needs beside the store.
func mustExec(tb testing.TB, pool *pgxpool.Pool, query string, args ...any) {
	tb.Helper()
	if _, err := pool.Exec(context.Background(), query, args...); err != nil {
		tb.Fatal(err)
	}
}

// The database's clock was put back: a row is from the future, and does not have to wait until its time has come.
func TestARowFromTheFutureIsNotYoung(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, b outboxtest.Backend, later func()) {
		t.Helper()
		const shard = 1
		if err := b.Append(t.Context(), []outbox.Row{{Shard: shard, Key: "a", Seq: 1, Payload: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
		later()
		if age, err := b.Store.Oldest(t.Context(), []int{shard}); err != nil || age < 30*time.Minute || age > time.Hour {
			t.Errorf("a row of in an hour: got %v, %v", age, err)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		b := openPostgres(t)
		check(t, b, func() {
			mustExec(t, b.Store.(outbox.Postgres).Pool, `UPDATE chatroom.outbox SET created_at = now() + interval '1 hour'`)
		})
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		b := openSQLite(t)
		check(t, b, func() {
			if _, err := b.Store.(outbox.SQLite).DB.ExecContext(t.Context(), `UPDATE outbox SET created_at = created_at + 3600000000`); err != nil {
				t.Fatal(err)
			}
		})
	})
}
