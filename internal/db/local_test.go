package db_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// forward listens on addr and passes connections on to target until the test ends.
func forward(t *testing.T, addr, target string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
}

func TestOpenSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "odd name 100%?#.db")
	s, err := db.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		for name, pool := range map[string]*sql.DB{"writer": s.Writer, "reader": s.Reader} {
			var got string
			if err := pool.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s of the %s: got %q, %v, want %q", pragma, name, got, err, want)
			}
		}
	}
	err = db.InTx(t.Context(), s.Writer, func(tx *sql.Tx) error {
		_, err := tx.Exec("CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (1)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	err = db.InTx(t.Context(), s.Writer, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO t VALUES (2)"); err != nil {
			return err
		}
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Errorf("got %v, want the function's own error", err)
	}
	var n int
	if err := s.Reader.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d rows, %v, want 1: the second transaction was rolled back", n, err)
	}
	if _, err := s.Reader.Exec("INSERT INTO t VALUES (3)"); err == nil {
		t.Error("the reader could write")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file has another name: %v", err)
	}
	if _, err := db.OpenSQLite(t.Context(), filepath.Join(path, "below-a-file.db")); err == nil {
		t.Error("opened a database below a file")
	}
}

func TestDatabasesOfTestsAreTheirOwn(t *testing.T) {
	t.Parallel()
	a, urlA := dbtest.Postgres(t)
	b, urlB := dbtest.Postgres(t)
	if urlA == urlB {
		t.Fatal("two tests got one database")
	}
	if _, err := a.Exec(t.Context(), "INSERT INTO chatroom.rooms (room) VALUES ('x')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.QueryRow(t.Context(), "SELECT count(*) FROM chatroom.rooms").Scan(&n); err != nil || n != 0 {
		t.Errorf("got %d rooms, %v, want 0", n, err)
	}
	s := dbtest.SQLite(t, migrations.Persister)
	if err := s.Reader.QueryRow("SELECT count(*) FROM messages").Scan(&n); err != nil || n != 0 {
		t.Errorf("got %d messages, %v, want 0", n, err)
	}
}

// One process owns a data folder; the next is told who has it, and a killed owner leaves nothing to clean up.
func TestLockDir(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("GOCHAT_TEST_LOCK_DIR"); dir != "" {
		lockAsChild(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "data", "deep")
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.LockDir(dir)
	if want := fmt.Sprintf("%s is in use by another gochat (pid %d); stop it first, or name another folder", dir, os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockDir$")
	child.Env = append(os.Environ(), "GOCHAT_TEST_LOCK_DIR="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("locked\n"))); err != nil {
		t.Fatal(err)
	}
	_, err = db.LockDir(dir)
	if want := fmt.Sprintf("(pid %d)", child.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to name %s", err, want)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	lock, err = db.LockDir(dir)
	if err != nil {
		t.Fatalf("after the owner was killed: %v", err)
	}
	_ = lock.Close()
}

// lockAsChild holds the lock until it is killed, or its parent is gone.
func lockAsChild(t *testing.T, dir string) {
	t.Helper()
	if _, err := db.LockDir(dir); err != nil {
		t.Fatal(err)
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestLockDirNotWritable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A folder that is a file fails for root as well, whom no mode stops. /proc is writable to nobody.
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc"} {
		_, err := db.LockDir(dir)
		if err == nil {
			t.Fatalf("%s: got no error", dir)
		}
		got := err.Error()
		if !strings.Contains(got, dir) || !strings.Contains(got, "--data") || strings.Contains(got, "\n") {
			t.Errorf("got %q, want one line with the folder and the flag", got)
		}
	}
}
