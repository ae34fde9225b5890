//go:build unix

package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// folderOf makes the files of gochat up, of this binary's version, and runs statements on that of the chat room.
func folderOf(t *testing.T, statements ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, s := range dataFiles {
		file, err := db.OpenSQLite(t.Context(), filepath.Join(dir, string(s)+".db"))
		must(t, err)
		m, err := migrations.SQLite(file.Writer, s)
		must(t, err)
		_, err = m.Up(t.Context())
		must(t, err)
		if s == migrations.Chatroom {
			for _, statement := range statements {
				_, err := file.Writer.ExecContext(t.Context(), statement)
				must(t, err)
			}
		}
		must(t, file.Close())
	}
	return dir
}

func lookAtFolder(t *testing.T, dir string) map[string]Report {
	t.Helper()
	return found(t, New(Config{Data: dir, Server: "ws://127.0.0.1:1", HistoryAddr: "127.0.0.1:1"}))
}

// To start anew over one file that is left would make an empty history of what was accepted.
func TestAFileThatIsMissing(t *testing.T) {
	t.Parallel()
	dir := folderOf(t, `INSERT INTO rooms (room, head) VALUES ('ops', 3)`)
	must(t, os.Remove(filepath.Join(dir, "persister.db")))
	want(t, lookAtFolder(t, dir), "database files", Fail, "persister.db is not there", "restore both files from one backup")
	want(t, lookAtFolder(t, t.TempDir()), "database files", Fail, "chatroom.db is not there", "gochat up makes a new one")
}

// What the files tell is told also when nobody has them; that a stopped process has something left is no fault.
func TestAFolderThatNobodyHas(t *testing.T) {
	t.Parallel()
	all := lookAtFolder(t, folderOf(t, `INSERT INTO rooms (room, head) VALUES ('ops', 3)`,
		`INSERT INTO outbox (shard, key, seq, payload, created_at) VALUES (1, 'ops', 2, x'', 1), (1, 'ops', 3, x'', 1)`))
	want(t, all, "messages outbox", Warn, "2 messages wait to be published", "start gochat up")
	want(t, all, "messages storage lag", Warn, "2 messages wait to be stored", "start gochat up")
	want(t, all, "messages nothing missing", Fail, "neither in the outbox nor stored: 1 event, ops #1", "from a backup")
	want(t, all, "messages dead letters", OK, "none", "")
	want(t, all, "messages relay leases", Skipped, "gochat up does not run", "")
}
