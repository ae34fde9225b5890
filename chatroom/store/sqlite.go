package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// SQLite is the [Store] in a file that this process owns. There is one writer, so transactions come one after the other
// and no lock order is needed.
type SQLite struct {
	file *db.SQLite
}

var _ Store = (*SQLite)(nil)

// NewSQLite uses a file as db.OpenSQLite opens it. The tables must be there.
func NewSQLite(file *db.SQLite) *SQLite { return &SQLite{file: file} }

// Epoch implements [Store].
func (s *SQLite) Epoch(ctx context.Context) (string, error) {
	const insert = `INSERT INTO meta (key, value) VALUES ('epoch', ?) ON CONFLICT DO NOTHING`
	const query = `SELECT value FROM meta WHERE key = 'epoch'`
	var epoch string
	err := s.file.Reader.QueryRowContext(ctx, query).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		if _, err = s.file.Writer.ExecContext(ctx, insert, newEpoch()); err == nil {
			err = s.file.Reader.QueryRowContext(ctx, query).Scan(&epoch)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}

// OpenRoom implements [Store].
func (s *SQLite) OpenRoom(ctx context.Context, room string) (int64, error) {
	heads, err := s.Heads(ctx, []string{room})
	if err != nil {
		return 0, err
	}
	if head, ok := heads[room]; ok {
		return head, nil
	}
	if _, err := s.file.Writer.ExecContext(ctx, `INSERT INTO rooms (room) VALUES (?) ON CONFLICT DO NOTHING`, room); err != nil {
		if isBadRowSQLite(err) {
			return 0, fmt.Errorf("create room: %w: %w", ErrBadRow, err)
		}
		return 0, fmt.Errorf("create room %s: %w", room, err)
	}
	heads, err = s.Heads(ctx, []string{room})
	return heads[room], err
}

// Heads implements [Store].
func (s *SQLite) Heads(ctx context.Context, names []string) (map[string]int64, error) {
	heads := make(map[string]int64, len(names))
	for part := range slices.Chunk(names, 500) { // far below SQLite's bound on parameters
		if err := s.readHeads(ctx, part, heads); err != nil {
			return nil, fmt.Errorf("read heads: %w", err)
		}
	}
	return heads, nil
}

func (s *SQLite) readHeads(ctx context.Context, names []string, heads map[string]int64) error {
	args := make([]any, len(names))
	for i, n := range names {
		args[i] = n
	}
	query := `SELECT room, head FROM rooms WHERE room IN (?` + strings.Repeat(`, ?`, len(names)-1) + `)`
	rows, err := s.file.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var room string
		var head int64
		if err := rows.Scan(&room, &head); err != nil {
			return err
		}
		heads[room] = head
	}
	return rows.Err()
}

// Tail implements [Store].
func (s *SQLite) Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	const (
		first = `SELECT payload FROM outbox WHERE key = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3`
		last  = `SELECT payload FROM outbox WHERE key = ?1 AND seq > ?2 AND seq < ?4 ORDER BY seq DESC LIMIT ?3`
	)
	query, args := first, []any{room, after, max(limit, 0)}
	if before != 0 {
		query, args = last, append(args, before)
	}
	rows, err := s.file.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read outbox of %s: %w", room, err)
	}
	defer func() { _ = rows.Close() }()
	var payloads [][]byte
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("read outbox of %s: %w", room, err)
		}
		payloads = append(payloads, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read outbox of %s: %w", room, err)
	}
	if before != 0 {
		slices.Reverse(payloads)
	}
	return decodeTail(room, payloads)
}

// Accept implements [Store].
func (s *SQLite) Accept(ctx context.Context, sends []Send) ([]Receipt, error) {
	receipts := make([]Receipt, len(sends))
	cs := candidates(sends, receipts)
	for len(cs) > 0 {
		err := s.attempt(ctx, cs, receipts)
		var bad *badRowError
		if !errors.As(err, &bad) {
			if err != nil {
				return nil, fmt.Errorf("accept %d messages: %w", len(sends), err)
			}
			return receipts, nil
		}
		// The transaction is gone; the others go again without this row.
		i := slices.IndexFunc(cs, func(c candidate) bool { return key{c.send.Sender, c.send.ID} == bad.key })
		receipts[cs[i].at] = Receipt{Err: fmt.Errorf("%w: %w", ErrBadRow, bad.err)}
		cs = slices.Delete(cs, i, i+1)
	}
	return receipts, nil
}

// badRowError names the row that the database refused.
type badRowError struct {
	key key
	err error
}

func (e *badRowError) Error() string { return e.err.Error() }

// attempt runs one accepting transaction. ctx bounds the wait for the writer; what runs then is local and short, and is
// not cut off, so that a caller that leaves does not turn a commit into a riddle.
func (s *SQLite) attempt(ctx context.Context, cs []candidate, receipts []Receipt) error {
	conn, err := s.file.Writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	ctx = context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	heads, known, err := lookSQLite(ctx, tx, cs)
	if err != nil {
		return err
	}
	pl, err := decide(cs, heads, known, receipts)
	if err != nil || len(pl.fresh) == 0 {
		return err
	}
	if err := writeSQLite(ctx, tx, pl); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		// A disk that failed while the log was synced may still hold the commit, and a restart would find it.
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return nil
}

// plan is what a transaction has to write.
type plan struct {
	fresh []accepted // new messages, sorted by (sender, id)
	rows  []outbox.Row
	heads map[string]int64 // only rooms that moved
}

// accepted is a row of that table.
type accepted struct {
	key
	prior
}

// decide judges the candidates in their order against what the locked database knows, gives out the seqs, and fills in
// the receipts. heads holds every room of the candidates, known every key that was accepted before; both are changed.
func decide(cs []candidate, heads map[string]int64, known map[key]prior, receipts []Receipt) (plan, error) {
	p := plan{heads: map[string]int64{}}
	for _, c := range cs {
		s, k := c.send, key{c.send.Sender, c.send.ID}
		if was, ok := known[k]; ok {
			receipts[c.at] = judge(c, was, true)
			continue
		}
		seq := heads[s.Room] + 1
		payload, err := message(s, seq).Encode("")
		if err != nil {
			return plan{}, fmt.Errorf("accept in %s: %w", s.Room, err)
		}
		heads[s.Room], p.heads[s.Room] = seq, seq
		known[k] = prior{room: s.Room, seq: seq, digest: c.digest, sentAt: s.SentAt}
		p.fresh = append(p.fresh, accepted{k, known[k]})
		p.rows = append(p.rows, outbox.Row{Shard: events.Shard(s.Room), Key: s.Room, Seq: seq, Payload: payload})
		receipts[c.at] = Receipt{Seq: seq, SentAt: s.SentAt, Event: payload}
	}
	slices.SortFunc(p.fresh, func(a, b accepted) int {
		if c := strings.Compare(a.sender, b.sender); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return p, nil
}

func lookSQLite(ctx context.Context, tx *sql.Tx, cs []candidate) (map[string]int64, map[key]prior, error) {
	room, err := tx.PrepareContext(ctx, `INSERT INTO rooms (room) VALUES (?) ON CONFLICT DO UPDATE SET head = head RETURNING head`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = room.Close() }()
	heads := map[string]int64{}
	for _, name := range rooms(cs) {
		var head int64
		if err := room.QueryRowContext(ctx, name).Scan(&head); err != nil {
			return nil, nil, fmt.Errorf("open room %s: %w", name, err)
		}
		heads[name] = head
	}
	look, err := tx.PrepareContext(ctx, `SELECT room, seq, digest, sent_at FROM accepted WHERE sender = ? AND id = ?`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = look.Close() }()
	known := map[key]prior{}
	for _, c := range cs {
		var a prior
		var digest []byte
		var sentAt int64
		err := look.QueryRowContext(ctx, c.send.Sender, c.send.ID).Scan(&a.room, &a.seq, &digest, &sentAt)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look for duplicates: %w", err)
		}
		copy(a.digest[:], digest)
		a.sentAt = time.UnixMicro(sentAt).UTC()
		known[key{c.send.Sender, c.send.ID}] = a
	}
	return heads, known, nil
}

func writeSQLite(ctx context.Context, tx *sql.Tx, pl plan) error {
	insert, err := tx.PrepareContext(ctx, `INSERT INTO accepted (sender, id, room, seq, digest, sent_at) VALUES (?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	for i := range pl.fresh {
		a := &pl.fresh[i]
		if _, err := insert.ExecContext(ctx, a.sender, a.id, a.room, a.seq, a.digest[:], a.sentAt.UnixMicro()); err != nil {
			if isBadRowSQLite(err) {
				return &badRowError{key: a.key, err: err}
			}
			return fmt.Errorf("insert accepted: %w", err)
		}
	}
	if err := outbox.AppendSQLite(ctx, tx, pl.rows); err != nil {
		return err
	}
	for room, head := range pl.heads {
		if _, err := tx.ExecContext(ctx, `UPDATE rooms SET head = ? WHERE room = ?`, head, room); err != nil {
			return fmt.Errorf("move head of %s: %w", room, err)
		}
	}
	return nil
}

// isBadRowSQLite tells errors that come from a row's content.
func isBadRowSQLite(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_CONSTRAINT_DATATYPE,
		sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}
