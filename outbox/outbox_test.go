package outbox_test

import (
	"context"
	"database/sql"
	"testing"

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
