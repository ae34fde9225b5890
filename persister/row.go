package persister

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotStored says that there is no row under the room and seq.
var ErrNotStored = errors.New("not stored")

// Row is what is kept of a stored event beside its text.
type Row struct {
	ID, Sender string
	SentAt     time.Time
	StoredAt   time.Time // by the database's clock
	Watermark  int64     // of the room
}

// Rows looks at single rows, for an operator. [Postgres] and [SQLite] do.
type Rows interface {
	// Row reads a row; without one it returns [ErrNotStored].
	Row(ctx context.Context, room string, seq int64) (Row, error)
	// Mark reads the room's watermark as it stands, without moving it; 0: none.
	Mark(ctx context.Context, room string) (int64, error)
	// Marks returns what AdvanceWatermarks would, and moves nothing.
	Marks(ctx context.Context, rooms []string) (map[string]int64, error)
	// Rooms returns up to limit rooms above after that have a row, in the order of their names.
	Rooms(ctx context.Context, after string, limit int) ([]RoomRows, error)
	// Count counts a room's rows up to a seq. It reads all of them in the index.
	Count(ctx context.Context, room string, upto int64) (int64, error)
	// Find returns up to limit events by their id, and sender where one is named. It reads all rows: there is no index.
	Find(ctx context.Context, sender, id string, limit int) ([]Place, error)
	// Runs returns the first limit unbroken runs of a room's rows, after < seq <= upto, ascending. It reads all of them.
	Runs(ctx context.Context, room string, after, upto int64, limit int) ([]Run, error)
}

// Place is where an event is stored, and whose it is.
type Place struct {
	Room       string
	Seq        int64
	ID, Sender string
}

// RoomRows is a room with the seq of its highest row.
type RoomRows struct {
	Room string
	Last int64
}

// Run is an unbroken run of rows, From to To.
type Run struct{ From, To int64 }

const rowSQL = `
SELECT m.id, m.sender, m.sent_at, m.stored_at,
    coalesce((SELECT w.seq FROM persister.watermarks w WHERE w.room = $1), 0)
FROM persister.messages m WHERE m.room = $1 AND m.seq = $2`

// Row implements [Rows].
func (p *Postgres) Row(ctx context.Context, room string, seq int64) (Row, error) {
	var r Row
	err := p.pool.QueryRow(ctx, rowSQL, room, seq).Scan(&r.ID, &r.Sender, &r.SentAt, &r.StoredAt, &r.Watermark)
	if errors.Is(err, pgx.ErrNoRows) {
		return Row{}, ErrNotStored
	}
	if err != nil {
		return Row{}, fmt.Errorf("read the row of %s/%d: %w", room, seq, err)
	}
	r.SentAt, r.StoredAt = r.SentAt.UTC(), r.StoredAt.UTC()
	return r, nil
}

// Mark implements [Rows].
func (p *Postgres) Mark(ctx context.Context, room string) (mark int64, err error) {
	var more bool
	if err := p.pool.QueryRow(ctx, markSQL, room).Scan(&mark, &more); err != nil {
		return 0, fmt.Errorf("watermark of %s: %w", room, err)
	}
	return mark, nil
}

// Mark implements [Rows].
func (s *SQLite) Mark(ctx context.Context, room string) (mark int64, err error) {
	var more bool
	if err := s.reader.QueryRowContext(ctx, sqliteMarkSQL, room).Scan(&mark, &more); err != nil {
		return 0, fmt.Errorf("watermark of %s: %w", room, err)
	}
	return mark, nil
}

const sqliteRowSQL = `
SELECT m.id, m.sender, m.sent_at, m.stored_at,
    coalesce((SELECT w.seq FROM watermarks w WHERE w.room = ?1), 0)
FROM messages m WHERE m.room = ?1 AND m.seq = ?2`

// Row implements [Rows].
func (s *SQLite) Row(ctx context.Context, room string, seq int64) (Row, error) {
	var r Row
	var sent, stored int64
	err := s.reader.QueryRowContext(ctx, sqliteRowSQL, room, seq).Scan(&r.ID, &r.Sender, &sent, &stored, &r.Watermark)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, ErrNotStored
	}
	if err != nil {
		return Row{}, fmt.Errorf("read the row of %s/%d: %w", room, seq, err)
	}
	r.SentAt, r.StoredAt = time.UnixMicro(sent).UTC(), time.UnixMicro(stored).UTC()
	return r, nil
}
