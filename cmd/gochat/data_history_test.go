package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// A history that is gone is not made anew in silence; one that never was is made.
func TestUpKeepsAHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	up := func() error {
		t.Helper()
		p := startProgram(t, "up", "--data", dir, "--listen", "127.0.0.1:0", "--history-listen", "127.0.0.1:0", "--admin-listen", "off")
		select {
		case err := <-p.ended:
			return err
		case <-p.out.news: // it listens
		}
		p.cancel()
		return p.wait()
	}
	if _, _, err := call(t, nil, "migrate", "up", "--data", dir); err != nil {
		t.Fatal(err)
	}
	chatroom, persister := dir+"/chatroom.db", dir+"/persister.db"
	file, err := db.OpenSQLite(t.Context(), chatroom)
	if err != nil {
		t.Fatal(err)
	}
	installation{t: t}.accept(store.NewSQLite(file), outbox.SQLite{DB: file.Writer, Read: file.Reader}, 3, "ops")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	// Nothing of it was stored, and all is in the outbox: an empty history is right.
	mustRemove(t, persister)
	if err := up(); err != nil {
		t.Fatalf("with all in the outbox: %v", err)
	}
	if out, _, err := call(t, nil, "reconcile", "--data", dir); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if err := up(); err != nil {
		t.Fatalf("with a history: %v", err)
	}
	for name, spoil := range map[string]func(){
		"no file":    func() { mustRemove(t, persister) },
		"empty file": func() { mustRemove(t, persister); mustWrite(t, persister) },
	} {
		spoil()
		for _, err := range []error{up(), func() error { _, _, err := call(t, nil, "migrate", "status", "--data", dir); return err }()} {
			if err == nil || !strings.Contains(err.Error(), "persister.db is missing or empty") || !strings.Contains(err.Error(), "restore both files") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if info, err := os.Stat(persister); err == nil && info.Size() > 0 {
			t.Errorf("%s: a history of %d bytes was made", name, info.Size())
		}
	}
	mustRemove(t, persister)
	mustRemove(t, chatroom)
	if err := up(); err != nil {
		t.Errorf("both gone: %v", err)
	}
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func mustWrite(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
