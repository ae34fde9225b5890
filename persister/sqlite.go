package persister

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/rafaeldepontes/go-chat/events"
)

// SQLite is the [Store] on a SQLite file that this process owns. Times are microseconds since 1970-01-01 UTC.
type SQLite struct {
	writer *sql.DB // one connection; its transactions take the write lock at once
	reader *sql.DB
}

// NewSQLite makes a store on a migrated file. The handles stay the caller's.
func NewSQLite(writer, reader *sql.DB) *SQLite { return &SQLite{writer: writer, reader: reader} }

const (
	sqliteInsertSQL = `
INSERT INTO messages (room, seq, kind, id, sender, body, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (room, seq) DO NOTHING`
	sqliteStoredSQL = `SELECT kind, id, sender, body, sent_at FROM messages WHERE room = ? AND seq = ?`
	sqliteMarkSQL   = `
SELECT k.mark, EXISTS (SELECT 1 FROM messages m WHERE m.room = ?1 AND m.seq = k.mark + 1)
FROM (SELECT coalesce((SELECT w.seq FROM watermarks w WHERE w.room = ?1), 0) AS mark) k`
	// See advanceSQL for why this counts the unbroken beginning.
	sqliteAdvanceSQL = `
SELECT count(*) FROM (
	SELECT seq, row_number() OVER (ORDER BY seq) AS pos FROM messages WHERE room = ?1 AND seq > ?2 AND seq <= ?2 + ?3
) WHERE seq = ?2 + pos`
	sqliteRaiseSQL = `
INSERT INTO watermarks (room, seq) VALUES (?, ?)
ON CONFLICT (room) DO UPDATE SET seq = excluded.seq WHERE watermarks.seq < excluded.seq`
	sqlitePageSQL = `SELECT seq, kind, id, sender, body, sent_at FROM messages WHERE room = ? AND seq > ? AND seq <= ? ORDER BY seq `
)

// Insert implements [Store]: one transaction, so one sync of the file, for all. A refused row leaves the others alone,
// since SQLite takes back only the statement.
func (s *SQLite) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	errs := make([]error, len(evs))
	idx := sortedValid(evs, errs)
	if len(idx) == 0 {
		return errs, nil
	}
	err := inTx(ctx, s.writer, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, sqliteInsertSQL)
		if err != nil {
			return err
		}
		defer func() { _ = insert.Close() }()
		for _, i := range idx {
			if errs[i], err = insertOne(ctx, tx, insert, evs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("insert %d events: %w", len(idx), err)
	}
	return errs, nil
}

func insertOne(ctx context.Context, tx *sql.Tx, insert *sql.Stmt, e events.MessageSent) (refused, outage error) {
	res, err := insert.ExecContext(ctx, e.Room, e.Seq, e.Kind, e.ID, e.From, e.Text, sentAt(e).UnixMicro())
	if err != nil {
		if code, ok := refusedBySQLite(err); ok {
			return events.Permanent(fmt.Errorf("%w: SQLite result code %d", ErrBadEvent, code)), nil
		}
		return nil, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 1 {
		return nil, err
	}
	stored, err := scanEvent(tx.QueryRowContext(ctx, sqliteStoredSQL, e.Room, e.Seq), nil)
	if err != nil {
		return nil, err
	}
	return verdict(e, stored), nil
}

// Page implements [Store].
func (s *SQLite) Page(ctx context.Context, q PageQuery) (Page, error) {
	var mark int64
	var more bool
	if err := s.reader.QueryRowContext(ctx, sqliteMarkSQL, q.Room).Scan(&mark, &more); err != nil {
		return Page{}, fmt.Errorf("watermark of %s: %w", q.Room, err)
	}
	if more && q.wantsAbove(mark) {
		next, _, err := s.step(ctx, q.Room, mark)
		if err != nil {
			return Page{}, err
		}
		mark = next
	}
	low, high := q.span(mark)
	if low >= high {
		return q.page(nil, mark), nil
	}
	evs, err := s.read(ctx, q, low, high)
	if err != nil {
		return Page{}, fmt.Errorf("page of %s: %w", q.Room, err)
	}
	return q.page(evs, mark), nil
}

// read takes rows of the range in the direction of the page until their bytes are too many, and returns them ascending.
func (s *SQLite) read(ctx context.Context, q PageQuery, low, high int64) ([]events.MessageSent, error) {
	direction := "ASC"
	if q.Before > 0 {
		direction = "DESC"
	}
	rows, err := s.reader.QueryContext(ctx, sqlitePageSQL+direction, q.Room, low, high)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var evs []events.MessageSent
	bytes := 0
	for rows.Next() {
		var seq int64
		e, err := scanEvent(rows, &seq)
		if err != nil {
			return nil, err
		}
		if bytes += size(e); bytes > q.MaxBytes && len(evs) > 0 {
			break
		}
		e.Room, e.Seq = q.Room, seq
		evs = append(evs, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if q.Before > 0 {
		for i, j := 0, len(evs)-1; i < j; i, j = i+1, j-1 {
			evs[i], evs[j] = evs[j], evs[i]
		}
	}
	return evs, nil
}

// AdvanceWatermarks implements [Store].
func (s *SQLite) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	marks := make(map[string]int64, len(rooms))
	for _, room := range rooms {
		if _, done := marks[room]; done {
			continue
		}
		var mark int64
		var more bool
		if err := s.reader.QueryRowContext(ctx, sqliteMarkSQL, room).Scan(&mark, &more); err != nil {
			return nil, fmt.Errorf("watermark of %s: %w", room, err)
		}
		for more {
			var err error
			if mark, more, err = s.step(ctx, room, mark); err != nil {
				return nil, err
			}
		}
		marks[room] = mark
	}
	return marks, nil
}

// step looks at no more than advanceRows rows above the mark, and moves it up to the first hole among them.
func (s *SQLite) step(ctx context.Context, room string, mark int64) (next int64, more bool, err error) {
	next, more, err = s.find(ctx, room, mark)
	if err != nil || next == mark {
		return next, false, err
	}
	if _, err := s.writer.ExecContext(ctx, sqliteRaiseSQL, room, next); err != nil {
		return 0, false, fmt.Errorf("raise the watermark of %s: %w", room, err)
	}
	return next, more, nil
}

// find is step without a change.
func (s *SQLite) find(ctx context.Context, room string, mark int64) (next int64, more bool, err error) {
	var count int64
	if err := s.reader.QueryRowContext(ctx, sqliteAdvanceSQL, room, mark, advanceRows).Scan(&count); err != nil {
		return 0, false, fmt.Errorf("find the watermark of %s: %w", room, err)
	}
	return mark + count, count == advanceRows, nil
}

// scanEvent reads kind, id, sender, body, sent_at, and before them seq where it is asked for.
func scanEvent(row interface{ Scan(dest ...any) error }, seq *int64) (events.MessageSent, error) {
	var e events.MessageSent
	var micros int64
	dest := []any{&e.Kind, &e.ID, &e.From, &e.Text, &micros}
	if seq != nil {
		dest = append([]any{seq}, dest...)
	}
	err := row.Scan(dest...)
	e.SentAt = time.UnixMicro(micros).UTC()
	return e, err
}

// inTx commits what fn did, or takes it back.
func inTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// refusedBySQLite tells whether the file refused what a row holds, and with which result code.
func refusedBySQLite(err error) (code int, refused bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	switch e.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return e.Code(), true
	}
	return 0, false
}
