package persister

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// What compares the history as a whole with something else. It reads far more than a page does, so only an operator's
// command asks for it.

// roomsSQL walks the primary key from room to room: one look into the index each, however many rows a room has.
func roomsSQL(table, after, limit string) string {
	return `
WITH RECURSIVE r (room, n) AS (
    SELECT (SELECT min(m.room) FROM ` + table + ` m WHERE m.room > ` + after + `), 1
    UNION ALL
    SELECT (SELECT min(m.room) FROM ` + table + ` m WHERE m.room > r.room), r.n + 1 FROM r WHERE r.room IS NOT NULL AND r.n < ` + limit + `
)
SELECT r.room, (SELECT max(m.seq) FROM ` + table + ` m WHERE m.room = r.room) FROM r WHERE r.room IS NOT NULL ORDER BY 1`
}

// runsSQL: in a run of seqs without a hole, seq minus position is the same number.
func runsSQL(table string, room, after, upto, limit string) string {
	return `
SELECT min(s.seq), max(s.seq) FROM (
    SELECT m.seq, m.seq - row_number() OVER (ORDER BY m.seq) AS island FROM ` + table + ` m
    WHERE m.room = ` + room + ` AND m.seq > ` + after + ` AND m.seq <= ` + upto + `
) s GROUP BY s.island ORDER BY 1 LIMIT ` + limit
}

const messagesTable = "persister.messages"

// Marks implements [Rows].
func (p *Postgres) Marks(ctx context.Context, rooms []string) (map[string]int64, error) {
	rooms = slices.Compact(slices.Sorted(slices.Values(rooms)))
	marks := make(map[string]int64, len(rooms))
	for part := range slices.Chunk(rooms, advanceRooms) {
		for more := part; len(more) > 0; {
			var err error
			if _, more, err = p.find(ctx, more, marks, nil); err != nil {
				return nil, err
			}
		}
	}
	return marks, nil
}

// Rooms implements [Rows].
func (p *Postgres) Rooms(ctx context.Context, after string, limit int) ([]RoomRows, error) {
	rows, err := p.pool.Query(ctx, roomsSQL(messagesTable, "$1", "$2"), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list stored rooms: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RoomRows])
	if err != nil {
		return nil, fmt.Errorf("list stored rooms: %w", err)
	}
	return all, nil
}

// Count implements [Rows].
func (p *Postgres) Count(ctx context.Context, room string, upto int64) (n int64, err error) {
	const query = `SELECT count(*) FROM persister.messages WHERE room = $1 AND seq <= $2`
	if err := p.pool.QueryRow(ctx, query, room, upto).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of %s: %w", room, err)
	}
	return n, nil
}

// Runs implements [Rows].
func (p *Postgres) Runs(ctx context.Context, room string, after, upto int64, limit int) ([]Run, error) {
	rows, err := p.pool.Query(ctx, runsSQL(messagesTable, "$1", "$2", "$3", "$4"), room, after, upto, limit)
	if err != nil {
		return nil, fmt.Errorf("read the runs of %s: %w", room, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Run])
	if err != nil {
		return nil, fmt.Errorf("read the runs of %s: %w", room, err)
	}
	return all, nil
}

// Find implements [Rows].
func (p *Postgres) Find(ctx context.Context, sender, id string, limit int) ([]Place, error) {
	const query = `SELECT room, seq, id, sender FROM persister.messages WHERE id = $1 AND ($2 = '' OR sender = $2) ORDER BY room, seq LIMIT $3`
	var all []Place
	var b pgx.Batch
	b.Queue(`SELECT set_config('enable_seqscan', 'on', true)`) // no index serves, and a walk along one takes longer
	b.Queue(query, id, sender, limit).Query(func(rows pgx.Rows) (err error) {
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
		return err
	})
	if err := p.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("look for a stored event: %w", err)
	}
	return all, nil
}

// Marks implements [Rows].
func (s *SQLite) Marks(ctx context.Context, rooms []string) (map[string]int64, error) {
	marks := make(map[string]int64, len(rooms))
	for _, room := range rooms {
		mark, err := s.Mark(ctx, room)
		if err != nil {
			return nil, err
		}
		for more := true; more; {
			if mark, more, err = s.find(ctx, room, mark); err != nil {
				return nil, err
			}
		}
		marks[room] = mark
	}
	return marks, nil
}

// Rooms implements [Rows].
func (s *SQLite) Rooms(ctx context.Context, after string, limit int) (all []RoomRows, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var r RoomRows
		err := rows.Scan(&r.Room, &r.Last)
		all = append(all, r)
		return err
	}, roomsSQL("messages", "?1", "?2"), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list stored rooms: %w", err)
	}
	return all, nil
}

// Count implements [Rows].
func (s *SQLite) Count(ctx context.Context, room string, upto int64) (n int64, err error) {
	const query = `SELECT count(*) FROM messages WHERE room = ? AND seq <= ?`
	if err := s.reader.QueryRowContext(ctx, query, room, upto).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of %s: %w", room, err)
	}
	return n, nil
}

// Runs implements [Rows].
func (s *SQLite) Runs(ctx context.Context, room string, after, upto int64, limit int) (all []Run, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var r Run
		err := rows.Scan(&r.From, &r.To)
		all = append(all, r)
		return err
	}, runsSQL("messages", "?1", "?2", "?3", "?4"), room, after, upto, limit)
	if err != nil {
		return nil, fmt.Errorf("read the runs of %s: %w", room, err)
	}
	return all, nil
}

// Find implements [Rows].
func (s *SQLite) Find(ctx context.Context, sender, id string, limit int) (all []Place, err error) {
	const query = `SELECT room, seq, id, sender FROM messages WHERE id = ?1 AND (?2 = '' OR sender = ?2) ORDER BY room, seq LIMIT ?3`
	err = s.each(ctx, func(rows *sql.Rows) error {
		var p Place
		err := rows.Scan(&p.Room, &p.Seq, &p.ID, &p.Sender)
		all = append(all, p)
		return err
	}, query, id, sender, limit)
	if err != nil {
		return nil, fmt.Errorf("look for a stored event: %w", err)
	}
	return all, nil
}

func (s *SQLite) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
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
