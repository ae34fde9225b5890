package db_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/db"
)

// contents are the files of a folder by name. The index of the log, -shm, holds the locks of those who look.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(e.Name()) == ".db-shm" {
			b = nil
		}
		all[e.Name()] = string(b)
	}
	return all
}

// viewed counts the rows of t in a file that must be the same afterwards.
func viewed(t *testing.T, path string) (rows int) {
	t.Helper()
	before := contents(t, filepath.Dir(path))
	view, err := db.ViewSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := view.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&rows); err != nil {
		t.Error(err)
	}
	if wal, err := db.HasWAL(path); !wal || err != nil {
		t.Errorf("write-ahead log: got %v, %v", wal, err)
	}
	var synchronous int
	if err := view.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&synchronous); err != nil || synchronous != 2 {
		t.Errorf("synchronous: got %d, %v, want 2 (FULL)", synchronous, err)
	}
	if _, err := view.ExecContext(t.Context(), "INSERT INTO t VALUES (99)"); err == nil {
		t.Error("a view took a row")
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, contents(t, filepath.Dir(path))); diff != "" {
		t.Errorf("looking changed the folder:\n%s", diff)
	}
	return rows
}

func TestViewSQLiteChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chatroom.db")
	if _, err := db.ViewSQLite(t.Context(), path); err == nil {
		t.Error("a missing file was opened")
	}
	s, err := db.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Writer.ExecContext(t.Context(), "CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Writer.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if got := viewed(t, path); got != 1 {
		t.Errorf("beside the owner: %d rows, want 1", got)
	}
	// What kill -9 leaves: the last commits are in the log only.
	killed := filepath.Join(t.TempDir(), "chatroom.db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(killed+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := viewed(t, killed); got != 1 {
		t.Errorf("after kill -9: %d rows, want 1", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := viewed(t, path); got != 1 {
		t.Errorf("without an owner: %d rows, want 1", got)
	}
}

func TestHasWAL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rollback.db")
	s, err := db.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if wal, err := db.HasWAL(path); !wal || err != nil {
		t.Errorf("as it was opened: got %v, %v", wal, err)
	}
	if _, err := s.Writer.ExecContext(t.Context(), "PRAGMA journal_mode = DELETE"); err != nil {
		t.Fatal(err)
	}
	if wal, err := db.HasWAL(path); wal || err != nil {
		t.Errorf("with a rollback journal: got %v, %v", wal, err)
	}
	if _, err := db.HasWAL(path + ".none"); err == nil {
		t.Error("no error for a missing file")
	}
}

func TestDirOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unowned := func(when string) {
		t.Helper()
		if pid, owned, err := db.DirOwner(dir); pid != "" || owned || err != nil {
			t.Errorf("%s: got %q, %v, %v", when, pid, owned, err)
		}
	}
	unowned("without a lock file")
	if files := contents(t, dir); len(files) != 0 {
		t.Errorf("looking made %v", files)
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid, owned, err := db.DirOwner(dir); pid != strconv.Itoa(os.Getpid()) || !owned || err != nil {
		t.Errorf("owned: got %q, %v, %v", pid, owned, err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	unowned("given up")
	if lock, err = db.LockDir(dir); err != nil {
		t.Errorf("a look kept the lock: %v", err)
	} else {
		_ = lock.Close()
	}
}

// A look in the moment of a start must not refuse the owner.
func TestLookingDoesNotKeepTheOwnerOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_, _, _ = db.DirOwner(dir)
				runtime.Gosched()
			}
		}
	}()
	for range 300 {
		lock, err := db.LockDir(dir)
		if err != nil {
			t.Error(err)
			break
		}
		_ = lock.Close()
	}
	close(stop)
	<-ended
}
