package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// migrateStory goes up and a step down in the database that the flags name.
func migrateStory(t *testing.T, flags ...string) {
	t.Helper()
	migrate := func(word string) string {
		t.Helper()
		out, stderr, err := call(t, nil, append([]string{"migrate", word}, flags...)...)
		if err != nil || stderr != "" {
			t.Fatalf("migrate %s: %v, %q", word, err, stderr)
		}
		return out
	}
	first := migrate("status")
	if strings.Count(first, "not applied") < 2 || strings.Count(first, "not applied") != strings.Count(first, "\n") {
		t.Errorf("status of an empty database: got\n%s", first)
	}
	up := migrate("up")
	for _, want := range []string{"up   chatroom 00001 ", "up   persister 00001 "} {
		if !strings.Contains(up, want) {
			t.Errorf("up: no %q in\n%s", want, up)
		}
	}
	if got := migrate("up"); !strings.Contains(got, "nothing to do") {
		t.Errorf("second up: got %q", got)
	}
	if got := migrate("status"); strings.Contains(got, "not applied") || strings.Count(got, "\n") != strings.Count(first, "\n") {
		t.Errorf("status after up: got\n%s", got)
	}
	// One step back in each service.
	if got := migrate("down"); strings.Count(got, "down ") != 2 {
		t.Errorf("down: got %q", got)
	}
	if got := migrate("status"); strings.Count(got, "not applied") != 2 {
		t.Errorf("status after down: got\n%s", got)
	}
}

func TestMigratePostgres(t *testing.T) {
	t.Parallel()
	migrateStory(t, "--database-url", dbtest.Empty(t))
}

func TestMigrateSQLite(t *testing.T) {
	t.Parallel()
	migrateStory(t, "--data", t.TempDir())
}

func TestMigrateRefusesAFolderInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	_, _, err = call(t, nil, "migrate", "up", "--data", dir)
	if want := fmt.Sprintf("%s is in use by another gochat (pid %d)", dir, os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.db")); files != nil {
		t.Errorf("made %q", files)
	}
}

func TestMigrateTellsTheHostAndNoPassword(t *testing.T) {
	t.Parallel()
	// A port that was just given back: nobody listens there.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	_ = listener.Close()
	_, _, err = call(t, map[string]string{"DATABASE_URL": "postgres://ann:geheim@" + host + "/chat"}, "migrate", "up")
	if err == nil || exitCode(err) != 1 {
		t.Fatalf("got %v", err)
	}
	var b strings.Builder
	report(&b, err)
	line := b.String()
	if !strings.Contains(line, "DATABASE_URL: ") || !strings.Contains(line, host) || strings.Contains(line, "geheim") || strings.Count(line, "\n") != 1 {
		t.Errorf("got %q", line)
	}
}
