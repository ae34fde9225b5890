package migrations_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
)

func TestMain(m *testing.M) {
	if u := os.Getenv(childEnv); u != "" {
		os.Exit(migrateAsChild(u))
	}
	goleak.VerifyTestMain(m)
}

// database is one dialect under test: its migrator, and a plain connection to look with.
type database struct {
	*testing.T
	*migrations.Migrator
	sql   *sql.DB
	table func(service, name string) string
}

// eachDialect runs the test on fresh empty databases of both dialects. In SQLite a service has a file of its own, so
// there it runs for the chat room.
func eachDialect(t *testing.T, test func(d database)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := dbtest.Empty(t)
		m, err := migrations.Postgres(url, migrations.Chatroom)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		test(database{t, m, openSQL(t, url), func(service, name string) string { return service + "." + name }})
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "chatroom.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		m, err := migrations.SQLite(s.Writer, migrations.Chatroom)
		if err != nil {
			t.Fatal(err)
		}
		test(database{t, m, s.Writer, func(_, name string) string { return name }})
	})
}

func openSQL(t *testing.T, url string) *sql.DB {
	t.Helper()
	cfg, err := db.ConnConfig(url, "")
	if err != nil {
		t.Fatal(err)
	}
	pool := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(d database) {
		t := d.T
		ctx := t.Context()
		up, err := d.Up(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(up) < 2 || up[0].Name != "rooms" || !up[0].Up {
			t.Fatalf("up: %+v", up)
		}
		if err := d.Check(ctx); err != nil {
			t.Fatal(err)
		}
		if again, err := d.Up(ctx); err != nil || len(again) != 0 {
			t.Fatalf("second up: %v, %v", again, err)
		}

		down, err := d.Down(ctx)
		if err != nil || len(down) != 1 || down[0].Up || down[0].Version != up[len(up)-1].Version {
			t.Fatalf("down: %+v, %v", down, err)
		}
		states, err := d.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		last := states[len(states)-1]
		if !last.AppliedAt.IsZero() || states[0].AppliedAt.IsZero() {
			t.Fatalf("status after down: %+v", states)
		}
		if age := time.Since(states[0].AppliedAt); age < -time.Minute || age > 5*time.Minute {
			t.Errorf("applied %s ago; is the time in UTC?", age)
		}

		if _, err := d.DownToZero(ctx); err != nil {
			t.Fatal(err)
		}
		if none, err := d.Down(ctx); err != nil || len(none) != 0 {
			t.Fatalf("down below zero: %v, %v", none, err)
		}
		if _, err := d.sql.ExecContext(ctx, "SELECT 1 FROM "+d.table("chatroom", "rooms")); err == nil {
			t.Error("rooms is still there at version 0")
		}
		if again, err := d.Up(ctx); err != nil || len(again) != len(up) {
			t.Fatalf("up again: %v, %v", again, err)
		}
		if err := d.Check(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPostgresMovesBothServices(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	m, err := migrations.Postgres(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	down, err := m.Down(t.Context())
	if err != nil || len(down) != 2 {
		t.Fatalf("down: %+v, %v", down, err)
	}
	if down[0].Service != migrations.Persister || down[1].Service != migrations.Chatroom || down[0].Version != down[1].Version {
		t.Errorf("down: %+v, want a step in each, the last service first", down)
	}
	// A schema that is there needs no right to create one: see createSchema.
	pool := openSQL(t, url)
	if _, err := pool.ExecContext(t.Context(), "SELECT 1 FROM chatroom.goose_db_version, persister.goose_db_version"); err != nil {
		t.Errorf("version tables: %v", err)
	}
}

func TestSameNumbersAndNames(t *testing.T) {
	t.Parallel()
	names := func(dialect, service string) (numbers, files []string) {
		entries, err := fs.ReadDir(os.DirFS("."), dialect+"/"+service)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			number, _, _ := strings.Cut(e.Name(), "_")
			numbers, files = append(numbers, number), append(files, e.Name())
		}
		return numbers, files
	}
	want, _ := names("postgres", "chatroom")
	for _, service := range []string{"chatroom", "persister"} {
		numbers, pg := names("postgres", service)
		_, lite := names("sqlite", service)
		if diff := cmp.Diff(pg, lite); diff != "" {
			t.Errorf("%s: postgres and sqlite differ (-postgres +sqlite):\n%s", service, diff)
		}
		if diff := cmp.Diff(want, numbers); diff != "" {
			t.Errorf("%s: other numbers than the chat room (-chatroom +%s):\n%s", service, service, diff)
		}
	}
}

func TestCheckRefusesTooOld(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(d database) {
		t := d.T
		refuses := func(when string) {
			t.Helper()
			err := d.Check(t.Context())
			if !errors.Is(err, migrations.ErrTooOld) || !strings.Contains(err.Error(), "gochat migrate up") {
				t.Errorf("%s: got %v, want ErrTooOld that names the command", when, err)
			}
		}
		refuses("empty database")
		if n := countTables(t, d); n != 0 {
			t.Errorf("Check left %d tables behind", n)
		}
		if _, err := d.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		refuses("one version behind")
	})
}

func TestCheckRefusesTooNew(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(d database) {
		t := d.T
		if _, err := d.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustExec(t, d.sql, "INSERT INTO "+d.table("chatroom", "goose_db_version")+" (version_id, is_applied) VALUES (99999, true)")
		err := d.Check(t.Context())
		if !errors.Is(err, migrations.ErrTooNew) || !strings.Contains(err.Error(), "use a newer gochat") {
			t.Errorf("check: got %v, want ErrTooNew that says what to do", err)
		}
		if _, err := d.Up(t.Context()); !errors.Is(err, migrations.ErrTooNew) {
			t.Errorf("up: got %v, want ErrTooNew", err)
		}
		if _, err := d.Down(t.Context()); !errors.Is(err, migrations.ErrTooNew) {
			t.Errorf("down: got %v, want ErrTooNew", err)
		}
		states, err := d.Status(t.Context())
		if last := states[len(states)-1]; err != nil || last.Version != 99999 || last.Name != "" {
			t.Errorf("status: %+v, %v", states, err)
		}
	})
}

func TestReadySchemaNeedsNoRightToCreateOne(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	pool := openSQL(t, url)
	role := "gochat_test_" + strings.TrimPrefix(url[strings.LastIndex(url, "/")+1:strings.Index(url, "?")], "gochat_test_")
	mustExec(t, pool, "CREATE ROLE "+role+" LOGIN PASSWORD '"+role+"'")
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, s := range []string{"DROP OWNED BY " + role + " CASCADE", "DROP ROLE " + role} {
			if _, err := pool.ExecContext(ctx, s); err != nil {
				t.Error(err)
			}
		}
	})
	mustExec(t, pool, "CREATE SCHEMA chatroom AUTHORIZATION "+role)
	m, err := migrations.Postgres(asUser(t, url, role), migrations.Chatroom)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if _, err := m.Up(t.Context()); err != nil {
		t.Error(err)
	}
}

func mustExec(t *testing.T, pool *sql.DB, statement string) {
	t.Helper()
	if _, err := pool.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func countTables(t *testing.T, d database) (n int) {
	t.Helper()
	q := "SELECT count(*) FROM pg_namespace WHERE nspname IN ('chatroom', 'persister')"
	if d.table("", "x") == "x" {
		q = "SELECT count(*) FROM sqlite_master"
	}
	if err := d.sql.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
