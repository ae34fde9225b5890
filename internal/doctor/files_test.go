package doctor

import (
	"path/filepath"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

// mustFolder makes the files of gochat up and returns their folder; the persister's file is open for the test.
func mustFolder(t *testing.T) (dir string, kept *db.SQLite) {
	t.Helper()
	dir = t.TempDir()
	for _, s := range dataFiles {
		file, err := db.OpenSQLite(t.Context(), filepath.Join(dir, string(s)+".db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		m, err := migrations.SQLite(file.Writer, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept = file
	}
	return dir, kept
}

func TestDeadLettersOfAFolder(t *testing.T) {
	t.Parallel()
	dir, kept := mustFolder(t)
	c := Config{Data: dir, Server: "ws://127.0.0.1:1", HistoryAddr: "127.0.0.1:1"}
	want(t, found(t, New(c)), "messages dead letters", OK, "none", "")

	letter := events.DeadLetter{Key: "k", ID: "ops/1", Reason: "a test's"}
	if err := persister.NewDeadLetters(kept.Writer, kept.Reader).Put(t.Context(), []events.DeadLetter{letter}); err != nil {
		t.Fatal(err)
	}
	want(t, found(t, New(c)), "messages dead letters", Fail, "1 dead letter in "+filepath.Join(dir, "persister.db"), "gochat dead list --data "+dir)
}
