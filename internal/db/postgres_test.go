package db_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpenPostgres(t *testing.T) {
	t.Parallel()
	pool, err := db.OpenPostgres(t.Context(), dbtest.ServerURL(), db.Options{ApplicationName: "gochat dbtest", MaxConns: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if got := pool.Config().MaxConns; got != 3 {
		t.Errorf("got at most %d connections, want 3", got)
	}
	for setting, want := range map[string]string{
		"application_name": "gochat dbtest", "synchronous_commit": "on", "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "5s", "TimeZone": "UTC",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", setting, got, err, want)
		}
	}
}

// Two pools on one database have one identity, two databases of one server two.
func TestIdentity(t *testing.T) {
	t.Parallel()
	a, url := dbtest.Postgres(t)
	b, _ := dbtest.Postgres(t)
	seen := map[string]int{}
	for _, pool := range []*pgxpool.Pool{a, dbtest.Pool(t, url), b} {
		id, err := db.Identity(t.Context(), pool)
		if err != nil || id == "" {
			t.Errorf("got %q, %v", id, err)
		}
		seen[id]++
	}
	if len(seen) != 2 {
		t.Errorf("got %v, want two", seen)
	}
	a.Close()
	if id, err := db.Identity(t.Context(), a); err == nil {
		t.Errorf("of a closed pool: got %q", id)
	}
}

// The error is one line with setting and host, says what to do, and never shows the password.
func TestOpenPostgresErrors(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	silent := mustListen(t) // takes connections and never answers
	closed := mustListen(t)
	closedAddr := closed.Addr().String()
	_ = closed.Close()
	server, err := url.Parse(dbtest.ServerURL())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		retryable bool
		want      []string
	}{
		{"refused", "postgres://ann:" + password + "@" + closedAddr + "/chat?sslmode=disable", true,
			[]string{"cannot reach " + closedAddr, "connection refused", "is PostgreSQL running?"}},
		{"refused, TLS preferred", "postgres://ann:" + password + "@" + closedAddr + "/chat", true,
			[]string{"cannot reach " + closedAddr + ": connection refused"}},
		{"no answer", "postgres://ann:" + password + "@" + silent.Addr().String() + "/chat?sslmode=disable&connect_timeout=1", true,
			[]string{silent.Addr().String(), "no answer in time"}},
		{"no such host", "postgres://ann:" + password + "@nowhere.invalid:5432/chat?sslmode=disable", true,
			[]string{"nowhere.invalid:5432", "is the name right?"}},
		{"no such socket", "postgres://ann:" + password + "@/chat?host=/nowhere", true, []string{"/nowhere", "no such socket"}},
		{"no such database", "postgres://" + server.User.String() + "@" + server.Host + "/gochat_none?sslmode=disable", false,
			[]string{server.Host, `no database "gochat_none"`}},
		{"no such user", "postgres://nobody_here:" + password + "@" + server.Host + "/postgres?sslmode=disable", false,
			[]string{server.Host, `refuses user "nobody_here"`}},
		{"empty", "", false, []string{"is empty"}},
		{"password with a slash", "postgres://ann:hun/" + password + "@localhost/chat", false, []string{"percent-encoded"}},
		{"bad escape", "postgres://ann:%zz" + password + "@localhost/chat", false, []string{"percent-encoded"}},
		{"no URL", "localhost:5432/chat?password=" + password, false, []string{"not a PostgreSQL URL"}},
		{"acknowledged commits may be lost", "postgres://ann:" + password + "@localhost/chat?synchronous_commit=off", false,
			[]string{"synchronous_commit=off"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := db.OpenPostgres(ctx, tt.url, db.Options{})
			var oe *db.OpenError
			if !errors.As(err, &oe) {
				t.Fatalf("got %T %v, want *OpenError", err, err)
			}
			got := err.Error()
			for _, want := range append(tt.want, "DATABASE_URL") {
				if !strings.Contains(got, want) {
					t.Errorf("got %q, want it to contain %q", got, want)
				}
			}
			if strings.Contains(got, "hun") || strings.Contains(got, password) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want one line without the password", got)
			}
			if db.Retryable(err) != tt.retryable {
				t.Errorf("%q: retryable is %v, want %v", got, !tt.retryable, tt.retryable)
			}
		})
	}
}

// A server that starts after its clients is found; a final error ends the wait at once.
func TestWait(t *testing.T) {
	t.Parallel()
	l := mustListen(t)
	addr := l.Addr().String()
	_ = l.Close()
	u, err := url.Parse(dbtest.ServerURL())
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	u.Host = addr
	started := false
	var pool *pgxpool.Pool
	open := func(ctx context.Context) func() error {
		return func() (err error) { pool, err = db.OpenPostgres(ctx, u.String(), db.Options{MaxConns: 1}); return err }
	}
	err = db.Wait(t.Context(), func(err error, pause time.Duration) {
		if !db.Retryable(err) || pause <= 0 {
			t.Errorf("onRetry: %v, %s", err, pause)
		}
		if !started {
			started = true
			forward(t, addr, target)
		}
	}, open(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	if !started {
		t.Error("onRetry was never called")
	}

	u.Host, u.Path = target, "/gochat_none"
	if err := db.Wait(t.Context(), nil, open(t.Context())); err == nil || db.Retryable(err) {
		t.Errorf("missing database: got %v, want a final error", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	u.Host = "127.0.0.1:1"
	if err := db.Wait(ctx, func(error, time.Duration) { cancel() }, open(ctx)); err == nil {
		t.Error("cancelled: got no error")
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Both have the SQLSTATE 54000. The second is how PostgreSQL tells that it runs out of transaction ids.
func TestIsTooLarge(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	_, err := pool.Exec(t.Context(), "INSERT INTO chatroom.rooms (room, head) SELECT string_agg(md5(i::text), ''), 0 FROM generate_series(1, 1000) i")
	if !db.IsTooLarge(err) {
		t.Errorf("a key that no index holds: got %v", err)
	}
	if err := fmt.Errorf("insert: %w", &pgconn.PgError{Code: "54000", File: "varsup.c", Routine: "GetNewTransactionId"}); db.IsTooLarge(err) {
		t.Errorf("%v says nothing of a row", err)
	}
}
