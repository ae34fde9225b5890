//go:build unix

package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/torture/check"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// histories reads all rooms over gRPC, page by page.
func (s *stack) histories(ctx context.Context, rooms []string) (map[string][]check.Event, error) {
	conn, err := grpc.NewClient(s.history, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to the history: %w", err)
	}
	defer conn.Close()
	c := historyv1.NewHistoryServiceClient(conn)
	out := make(map[string][]check.Event, len(rooms))
	for _, room := range rooms {
		var after int64
		for {
			page, err := c.ListEvents(ctx, &historyv1.ListEventsRequest{
				Room: room, Cursor: &historyv1.ListEventsRequest_After{After: after}, Limit: 1000,
			})
			if err != nil {
				return nil, fmt.Errorf("history of %s above %d: %w", room, after, err)
			}
			for _, e := range page.GetEvents() {
				out[room] = append(out[room], event(e.GetSeq(), e.GetKind(), e.GetId(), e.GetSender(), e.GetText(), e.GetSentAt().AsTime()))
				after = e.GetSeq()
			}
			if page.GetComplete() || len(page.GetEvents()) == 0 {
				break
			}
		}
	}
	return out, nil
}

func event(seq int64, kind, id, from, text string, sentAt time.Time) check.Event {
	return check.Event{Seq: seq, ID: id, From: from, SentAt: sentAt, Digest: check.DigestOf(id, from, text, sentAt, kind)}
}

// tables is what stands in the databases.
type tables struct {
	rooms map[string]*check.Room
	dead  []string // ids of the events in the persister's file, where there is no broker to keep them
}

func (t *tables) room(name string) *check.Room {
	if t.rooms == nil {
		t.rooms = make(map[string]*check.Room)
	}
	if t.rooms[name] == nil {
		t.rooms[name] = &check.Room{Name: name}
	}
	return t.rooms[name]
}

// waits notes a row of the outbox that is not stored.
func (t *tables) waits(room string, seq int64) {
	r := t.room(room)
	r.Waiting = append(r.Waiting, seq)
}

// state joins tables and histories for the checker.
func (t *tables) state(histories map[string][]check.Event) check.State {
	for name, events := range histories {
		t.room(name).History = events
	}
	s := check.State{DeadLetters: t.dead}
	for _, r := range t.rooms {
		s.Rooms = append(s.Rooms, *r)
	}
	slices.SortFunc(s.Rooms, func(a, b check.Room) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return s
}

// waiting counts the rows of the outbox, past the proxies. In embedded mode the file belongs to the process; there it is
// known only at the end, and the clients' word for what is stored has to do until then.
func (s *stack) waiting(ctx context.Context) (n int64, err error) {
	if s.mode == Embedded {
		return 0, nil
	}
	err = s.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT count(*) FROM chatroom.outbox`).Scan(&n)
	})
	return n, err
}

func (s *stack) query(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(ctx)
	return f(conn)
}

// tables reads what stands in the databases. The services have stopped.
func (s *stack) tables(ctx context.Context) (t tables, err error) {
	if s.mode == Embedded {
		return s.files(ctx)
	}
	err = s.query(ctx, func(conn *pgx.Conn) error {
		var name, kind, id, from, text string
		var seq int64
		var at time.Time
		each := func(sql string, to []any, f func()) error {
			rows, err := conn.Query(ctx, sql)
			if err == nil {
				_, err = pgx.ForEachRow(rows, to, func() error { f(); return nil })
			}
			return err
		}
		return errors.Join(
			each(`SELECT room, head FROM chatroom.rooms`, []any{&name, &seq}, func() { t.room(name).Head = seq }),
			each(`SELECT room, sender, id, seq FROM chatroom.accepted`, []any{&name, &from, &id, &seq}, func() {
				r := t.room(name)
				r.Keys = append(r.Keys, check.Key{Sender: from, ID: id, Seq: seq})
			}),
			each(`SELECT room, seq, kind, id, sender, body, sent_at FROM persister.messages`,
				[]any{&name, &seq, &kind, &id, &from, &text, &at}, func() {
					r := t.room(name)
					r.Stored = append(r.Stored, event(seq, kind, id, from, text, at.UTC()))
				}),
			each(`SELECT key, seq FROM chatroom.outbox`, []any{&name, &seq}, func() { t.waits(name, seq) }),
		)
	})
	return t, err
}

// files reads the embedded databases.
func (s *stack) files(ctx context.Context) (t tables, err error) {
	open := func(name string) (*db.SQLite, error) { return db.OpenSQLite(ctx, filepath.Join(s.data, name)) }
	chat, err := open("chatroom.db")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, chat.Close()) }()
	stored, err := open("persister.db")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	err = errors.Join(
		eachRow(ctx, chat.Reader, `SELECT room, head FROM rooms`, func(rows *sql.Rows) error {
			var name string
			var head int64
			err := rows.Scan(&name, &head)
			t.room(name).Head = head
			return err
		}),
		eachRow(ctx, chat.Reader, `SELECT room, sender, id, seq FROM accepted`, func(rows *sql.Rows) error {
			var name string
			var k check.Key
			err := rows.Scan(&name, &k.Sender, &k.ID, &k.Seq)
			r := t.room(name)
			r.Keys = append(r.Keys, k)
			return err
		}),
		eachRow(ctx, stored.Reader, `SELECT room, seq, kind, id, sender, body, sent_at FROM messages`, func(rows *sql.Rows) error {
			var name, kind, id, from, text string
			var seq, at int64
			err := rows.Scan(&name, &seq, &kind, &id, &from, &text, &at)
			r := t.room(name)
			r.Stored = append(r.Stored, event(seq, kind, id, from, text, time.UnixMicro(at).UTC()))
			return err
		}),
	)
	err = errors.Join(err, eachRow(ctx, stored.Reader, `SELECT event_id FROM dead_letters`, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		t.dead = append(t.dead, id)
		return err
	}))
	// A row whose event is stored may still be there when the process stops; what is above the stored mark may not.
	marks := make(map[string]int64)
	err = errors.Join(err,
		eachRow(ctx, stored.Reader, `SELECT room, seq FROM watermarks`, func(rows *sql.Rows) error {
			var name string
			var seq int64
			err := rows.Scan(&name, &seq)
			marks[name] = seq
			return err
		}),
		eachRow(ctx, chat.Reader, `SELECT key, seq FROM outbox`, func(rows *sql.Rows) error {
			var name string
			var seq int64
			err := rows.Scan(&name, &seq)
			if seq > marks[name] {
				t.waits(name, seq)
			}
			return err
		}),
	)
	return t, err
}

func eachRow(ctx context.Context, d *sql.DB, query string, f func(*sql.Rows) error) error {
	rows, err := d.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
