package main

import (
	"context"
	"slices"
	"strings"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

// copies tells which letters are the only copy of an accepted message. Where another event is stored under its seq, the
// watermark covers it, so the outbox gives its row up: the letter is all that is left. It asks the chat room's database,
// which is opened for the first letter of that kind.
type copies struct {
	open  func(context.Context) (store.Inspector, func() error, error)
	rooms store.Inspector
	after func() error // closes rooms
	err   error        // of open
}

// warning is what to say of a letter before it is dropped; empty: nothing.
func (c *copies) warning(ctx context.Context, l events.DeadLetter, evs []events.MessageSent) string {
	if !strings.Contains(l.Reason, persister.ErrConflict.Error()) || len(evs) == 0 {
		return ""
	}
	if c.rooms == nil && c.err == nil {
		c.rooms, c.after, c.err = c.open(ctx)
	}
	err := c.err
	for _, e := range evs {
		if err != nil {
			break
		}
		var found []store.Accepted
		found, err = c.rooms.FindAccepted(ctx, store.AcceptedQuery{Sender: e.From, ID: e.ID, Room: e.Room, Seq: e.Seq}, 1)
		if len(found) > 0 {
			return "the only copy of an accepted message, in whose place another event is stored"
		}
	}
	if err != nil {
		return "may be the only copy of an accepted message: the accepted ones cannot be read: " + clean(oneLine(err.Error()))
	}
	return ""
}

func (c *copies) close() error {
	if c.after == nil {
		return nil
	}
	return c.after()
}

// openAccepted opens what the chat room accepted, for reading.
func openAccepted(ctx context.Context, data string, database namedURL) (store.Inspector, func() error, error) {
	if data != "" {
		view, err := openBeside(ctx, data, migrations.Chatroom)
		if err != nil {
			return nil, nil, err
		}
		return store.NewSQLite(&db.SQLite{Reader: view}), view.Close, nil
	}
	pool, err := db.OpenPostgres(ctx, database.url, db.Options{ApplicationName: "gochat operator", MaxConns: 1})
	if err != nil {
		return nil, nil, err
	}
	return store.NewPostgres(pool), func() error { pool.Close(); return nil }, nil
}

// named tells whether a letter was asked for by its key.
func (q deadQuery) named(l events.DeadLetter) bool { return slices.Contains(q.keys, l.Key) }
