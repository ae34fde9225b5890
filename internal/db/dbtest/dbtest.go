// Package dbtest gives a test a database of its own, migrated and dropped at cleanup. Any number of tests may run at
// once. A missing server fails the test with one line that says how to get one.
package dbtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
)

const (
	serverEnv     = "GOCHAT_TEST_DATABASE_URL"
	defaultServer = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

	// timeout bounds making and dropping; a busy machine creates a database in well under a second.
	timeout = 60 * time.Second
)

// ServerURL is the server that tests may make databases on: GOCHAT_TEST_DATABASE_URL, or a local one.
func ServerURL() string {
	if u := os.Getenv(serverEnv); u != "" {
		return u
	}
	return defaultServer
}

// Postgres returns a pool of at most 8 connections on a fresh migrated database, and its URL for further pools. The
// pool is closed and the database dropped at cleanup, whoever else is still connected.
func Postgres(tb testing.TB) (*pgxpool.Pool, string) {
	tb.Helper()
	databaseURL := Empty(tb)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	m, err := migrations.Postgres(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		tb.Fatal(err)
	}
	return Pool(tb, databaseURL), databaseURL
}

// Pool returns one more pool on a database, as another replica would have it; it is closed at cleanup.
func Pool(tb testing.TB, databaseURL string) *pgxpool.Pool {
	tb.Helper()
	pool, err := db.OpenPostgres(context.Background(), databaseURL, db.Options{ApplicationName: "gochat test", MaxConns: 8})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Empty returns the URL of a fresh database without a schema; it is dropped at cleanup.
func Empty(tb testing.TB) string {
	tb.Helper()
	name := "gochat_test_" + random()
	exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() { exec(tb, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(ServerURL())
	if err != nil {
		tb.Fatalf("%s must be a URL", serverEnv)
	}
	u.Path = "/" + name
	return u.String()
}

// SQLite returns a fresh migrated file of one service; it is closed and removed at cleanup.
func SQLite(tb testing.TB, service migrations.Service) *db.SQLite {
	tb.Helper()
	ctx := context.Background()
	s, err := db.OpenSQLite(ctx, filepath.Join(tb.TempDir(), string(service)+".db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	m, err := migrations.SQLite(s.Writer, service)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := m.Up(ctx); err != nil {
		tb.Fatal(err)
	}
	return s
}

// exec runs a statement on the server's own database.
func exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, ServerURL())
	if err != nil {
		tb.Fatalf("no PostgreSQL at %s: run `go tool -modfile=tools/go.mod task test`, which starts one", host())
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// host names the server without user and password.
func host() string {
	u, err := url.Parse(ServerURL())
	if err != nil {
		return serverEnv
	}
	return fmt.Sprintf("%s%s", u.Host, u.Path)
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
