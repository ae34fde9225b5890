package doctor

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/compare"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// folder is the data folder of gochat up. The views are set when open has come to OK.
type folder struct {
	dir       string
	views     map[migrations.Service]*sql.DB
	owned     *check // skipped, and all that needs it, where no process has the folder
	chatroom  *check // its schema
	persister *check // its schema
	outbox    *outboxView
}

// dataFiles are the services in the order of their files on the page.
var dataFiles = []migrations.Service{migrations.Chatroom, migrations.Persister}

func (e *Examination) addFiles(c Config) *folder {
	f := &folder{dir: c.Data, views: make(map[migrations.Service]*sql.DB), outbox: &outboxView{}}
	open := e.add(sectionDatabase, "files", f.open)
	e.onClose(func() {
		for _, v := range f.views {
			_ = v.Close() // it was only read
		}
	})
	f.owned = e.add(sectionDatabase, "owner", f.owner, open)
	e.add(sectionDatabase, "journal_mode", f.journal, open)
	e.add(sectionDatabase, "synchronous", f.synchronous, open)
	for _, s := range dataFiles {
		schema := e.add(sectionDatabase, "schema "+string(s), f.schema(s), open)
		switch s {
		case migrations.Chatroom:
			f.chatroom = schema
		case migrations.Persister:
			f.persister = schema
		}
	}
	e.add(sectionDatabase, "size", f.size, open)
	return f
}

func (f *folder) file(s migrations.Service) string { return filepath.Join(f.dir, string(s)+".db") }

func (f *folder) open(ctx context.Context) outcome {
	var missing []string
	for _, s := range dataFiles {
		if info, err := os.Stat(f.file(s)); err != nil || !info.Mode().IsRegular() {
			missing = append(missing, f.file(s))
		}
	}
	switch len(missing) {
	case 0:
	case len(dataFiles):
		return fail("name the folder of gochat up with --data; gochat up makes a new one", "%s is not there", missing[0])
	default: // up makes both before it accepts anything
		return fail("stop gochat up, and restore both files from one backup: a new one would be empty", "%s is not there", missing[0])
	}
	for _, s := range dataFiles {
		view, err := db.ViewSQLite(ctx, f.file(s))
		if err != nil {
			return fail("is it a file of gochat up, and may this user read it?", "%s", oneLine(err.Error()))
		}
		f.views[s] = view
	}
	view := f.views[migrations.Chatroom]
	f.outbox.store, f.outbox.facts = outbox.SQLite{DB: view}, sqliteFacts{view}
	f.outbox.whole = compare.Reconciliation(store.NewSQLite(&db.SQLite{Reader: view}), outbox.SQLite{Read: view},
		persister.NewSQLite(nil, f.views[migrations.Persister]))
	if _, owned, err := db.DirOwner(f.dir); err == nil { // owner tells of an error
		f.outbox.stopped = !owned
	}
	return ok("%s, %s", filepath.Base(f.file(dataFiles[0])), filepath.Base(f.file(dataFiles[1])))
}

func (f *folder) owner(context.Context) outcome {
	pid, owned, err := db.DirOwner(f.dir)
	switch {
	case err != nil:
		return failErr(err, "run the doctor as the user of gochat up")
	case !owned:
		return skip("gochat up does not run on this folder")
	}
	return ok("gochat up runs on this folder, pid %s", pid)
}

func (f *folder) journal(context.Context) outcome {
	for _, s := range dataFiles {
		wal, err := db.HasWAL(f.file(s))
		if err != nil {
			return failErr(err, "")
		}
		if !wal {
			return fail("gochat up sets it at its start, on a local disk: start it again", "%s has no write-ahead log", f.file(s))
		}
	}
	return ok("wal")
}

// synchronous is a setting of each connection, so what is seen here is what this program gives to every one.
func (f *folder) synchronous(ctx context.Context) outcome {
	for _, s := range dataFiles {
		var level int
		if err := f.views[s].QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
			return failErr(fmt.Errorf("read synchronous of %s: %w", f.file(s), err), "")
		}
		if level < 2 { // FULL; 3 is EXTRA
			return fail("use a released gochat: this one loses what it accepted with the power", "level %d for %s, want FULL", level, f.file(s))
		}
	}
	return ok("FULL, on every connection of this program")
}

func (f *folder) schema(s migrations.Service) func(context.Context) outcome {
	return func(ctx context.Context) outcome {
		m, err := migrations.SQLite(f.views[s], s)
		if err != nil {
			return failErr(err, "")
		}
		got := schemaVersion(ctx, m)
		if err := m.Close(); err != nil {
			return failErr(err, "")
		}
		return got
	}
}

// deadLetters reads those that up keeps in its file.
func (f *folder) deadLetters(ctx context.Context) outcome {
	n, conflicts := 0, 0
	err := persister.NewDeadLetters(nil, f.views[migrations.Persister]).List(ctx, func(l events.DeadLetter) (bool, error) {
		n++
		conflicts += conflict(l)
		return true, nil
	})
	switch {
	case err != nil:
		return failErr(err, "")
	case n > 0:
		return deadLetters(n, conflicts, f.file(migrations.Persister), "gochat dead list --data "+f.dir)
	}
	return ok("none")
}

func (f *folder) size(context.Context) outcome {
	var sum int64
	for _, s := range dataFiles {
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(f.file(s) + suffix); err == nil {
				sum += info.Size()
			}
		}
	}
	return ok("%s", size(sum))
}
