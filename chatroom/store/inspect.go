package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// Accepted is what stays of an accepted message for ever: its idempotency key and its place.
type Accepted struct {
	Sender, ID string
	Room       string
	Seq        int64
	SentAt     time.Time
}

// AcceptedQuery asks for accepted messages. With Sender and ID it is one look into an index; with anything less it reads
// the whole table.
type AcceptedQuery struct {
	Sender, ID string // empty: any
	Room       string // empty: any; with Seq
	Seq        int64
}

// Inspector looks at what was accepted, for an operator's command. [Postgres] and [SQLite] do.
type Inspector interface {
	// Heads is that of [Store].
	Heads(ctx context.Context, rooms []string) (map[string]int64, error)
	// Rooms returns up to limit rooms above after, in the order of their names, with their heads.
	Rooms(ctx context.Context, after string, limit int) ([]outbox.Head, error)
	// Tail is that of [Store].
	Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error)
	// FindAccepted returns up to limit messages, by room, sender and seq.
	FindAccepted(ctx context.Context, q AcceptedQuery, limit int) ([]Accepted, error)
}

var (
	_ Inspector = (*Postgres)(nil)
	_ Inspector = (*SQLite)(nil)
)

// KnownEpoch is Epoch on a file that may only be read: empty, if no chat room ever ran on it.
func (s *SQLite) KnownEpoch(ctx context.Context) (epoch string, err error) {
	err = s.file.Reader.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'epoch'`).Scan(&epoch)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}

// Rooms implements [Inspector].
func (p *Postgres) Rooms(ctx context.Context, after string, limit int) ([]outbox.Head, error) {
	rows, err := p.pool.Query(ctx, `SELECT room, head FROM chatroom.rooms WHERE room > $1 ORDER BY room LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	heads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[outbox.Head])
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	return heads, nil
}

// FindAccepted implements [Inspector]. Each condition stands alone, so that the planner sees which are there.
func (p *Postgres) FindAccepted(ctx context.Context, q AcceptedQuery, limit int) ([]Accepted, error) {
	where, args := q.conditions(func(n int) string { return fmt.Sprintf("$%d", n) })
	rows, err := p.pool.Query(ctx, `SELECT sender, id, room, seq, sent_at FROM chatroom.accepted WHERE `+where+` ORDER BY room, sender, seq LIMIT `+
		fmt.Sprint(limit), args...)
	if err != nil {
		return nil, fmt.Errorf("look for an accepted message: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Accepted])
	if err != nil {
		return nil, fmt.Errorf("look for an accepted message: %w", err)
	}
	for i := range all {
		all[i].SentAt = all[i].SentAt.UTC()
	}
	return all, nil
}

// conditions is the query in SQL, with the dialect's parameters.
func (q AcceptedQuery) conditions(param func(n int) string) (where string, args []any) {
	where = "true"
	add := func(column string, value any) {
		args = append(args, value)
		where += " AND " + column + " = " + param(len(args))
	}
	if q.Sender != "" {
		add("sender", q.Sender)
	}
	if q.ID != "" {
		add("id", q.ID)
	}
	if q.Room != "" {
		add("room", q.Room)
	}
	if q.Seq != 0 {
		add("seq", q.Seq)
	}
	return where, args
}

// Rooms implements [Inspector].
func (s *SQLite) Rooms(ctx context.Context, after string, limit int) (heads []outbox.Head, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var h outbox.Head
		err := rows.Scan(&h.Key, &h.Seq)
		heads = append(heads, h)
		return err
	}, `SELECT room, head FROM rooms WHERE room > ? ORDER BY room LIMIT ?`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	return heads, nil
}

// FindAccepted implements [Inspector].
func (s *SQLite) FindAccepted(ctx context.Context, q AcceptedQuery, limit int) (all []Accepted, err error) {
	where, args := q.conditions(func(int) string { return "?" })
	err = s.each(ctx, func(rows *sql.Rows) error {
		var a Accepted
		var micros int64
		err := rows.Scan(&a.Sender, &a.ID, &a.Room, &a.Seq, &micros)
		a.SentAt = time.UnixMicro(micros).UTC()
		all = append(all, a)
		return err
	}, `SELECT sender, id, room, seq, sent_at FROM accepted WHERE `+where+` ORDER BY room, sender, seq LIMIT `+fmt.Sprint(limit), args...)
	if err != nil {
		return nil, fmt.Errorf("look for an accepted message: %w", err)
	}
	return all, nil
}

func (s *SQLite) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.file.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
