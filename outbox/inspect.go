package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoRow says that there is no such row: it was never appended, or it is stored and removed.
var ErrNoRow = errors.New("not in the outbox")

// Span is an unbroken run of rows of a key, From to To.
type Span struct {
	Key       string
	From, To  int64
	Published int64 // of these, rows that do not wait to be published
}

// RowState is what an outbox knows of a row beside its payload.
type RowState struct {
	CreatedAt   time.Time // by the database's clock, at the start of the accepting transaction
	PublishedAt time.Time // when it was marked, after the confirm; zero: it waits
	Attempts    int       // how often it was marked
}

// Inspector is an outbox that an operator's command looks into. [Postgres] and [SQLite] are.
type Inspector interface {
	Store
	// Spans returns the rows of the keys as spans, ascending in each key. It reads all of them.
	Spans(ctx context.Context, keys []string) ([]Span, error)
	// Owners returns the relays that are present by the database's clock.
	Owners(ctx context.Context) ([]string, error)
	// State returns one row's, or [ErrNoRow].
	State(ctx context.Context, key string, seq int64) (RowState, error)
}

var (
	_ Inspector = Postgres{}
	_ Inspector = SQLite{}
)

// In a run of seqs without a hole, seq minus position is the same number.
const spansPostgres = `
SELECT k.key, min(s.seq), max(s.seq), count(s.published_at)
FROM unnest($1::text[]) AS k (key) CROSS JOIN LATERAL (
    SELECT o.seq, o.published_at, o.seq - row_number() OVER (ORDER BY o.seq) AS island FROM chatroom.outbox o WHERE o.key = k.key
) s
GROUP BY k.key, s.island`

// Spans implements [Inspector].
func (s Postgres) Spans(ctx context.Context, keys []string) ([]Span, error) {
	spans, err := query(ctx, s, pgx.RowToStructByPos[Span], spansPostgres+` ORDER BY 1, 2`, keys)
	if err != nil {
		return nil, fmt.Errorf("look at the outbox of %d keys: %w", len(keys), err)
	}
	return spans, nil
}

// Owners implements [Inspector].
func (s Postgres) Owners(ctx context.Context) ([]string, error) {
	const present = `SELECT owner FROM chatroom.outbox_leases WHERE shard >= $1 AND expires_at > clock_timestamp() ORDER BY 1`
	rows, err := s.Pool.Query(ctx, present, presenceBase)
	if err != nil {
		return nil, fmt.Errorf("look for relays: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// State implements [Inspector].
func (s Postgres) State(ctx context.Context, key string, seq int64) (st RowState, err error) {
	const row = `SELECT created_at, published_at, attempts FROM chatroom.outbox WHERE key = $1 AND seq = $2`
	var published *time.Time
	err = s.Pool.QueryRow(ctx, row, key, seq).Scan(&st.CreatedAt, &published, &st.Attempts)
	if errors.Is(err, pgx.ErrNoRows) {
		return RowState{}, ErrNoRow
	}
	if err != nil {
		return RowState{}, fmt.Errorf("look at %s/%d in the outbox: %w", key, seq, err)
	}
	st.CreatedAt = st.CreatedAt.UTC()
	if published != nil {
		st.PublishedAt = published.UTC()
	}
	return st, nil
}

const spansSQLite = `
SELECT key, min(seq), max(seq), count(published_at) FROM (
    SELECT o.key, o.seq, o.published_at, o.seq - row_number() OVER (PARTITION BY o.key ORDER BY o.seq) AS island
    FROM json_each(?) AS k CROSS JOIN outbox AS o WHERE o.key = k.value
) GROUP BY key, island ORDER BY 1, 2`

// Spans implements [Inspector].
func (s SQLite) Spans(ctx context.Context, keys []string) ([]Span, error) {
	arg, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("look at the outbox: %w", err)
	}
	var spans []Span
	err = s.each(ctx, func(rows *sql.Rows) error {
		var sp Span
		err := rows.Scan(&sp.Key, &sp.From, &sp.To, &sp.Published)
		spans = append(spans, sp)
		return err
	}, spansSQLite, string(arg))
	if err != nil {
		return nil, fmt.Errorf("look at the outbox of %d keys: %w", len(keys), err)
	}
	return spans, nil
}

// Owners implements [Inspector].
func (s SQLite) Owners(ctx context.Context) (owners []string, err error) {
	const present = `SELECT owner FROM outbox_leases WHERE shard >= ? AND expires_at > ` + sqliteNow + ` ORDER BY 1`
	err = s.each(ctx, func(rows *sql.Rows) error {
		var o string
		err := rows.Scan(&o)
		owners = append(owners, o)
		return err
	}, present, presenceBase)
	if err != nil {
		return nil, fmt.Errorf("look for relays: %w", err)
	}
	return owners, nil
}

func (s SQLite) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.reader().QueryContext(ctx, query, args...)
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

// State implements [Inspector].
func (s SQLite) State(ctx context.Context, key string, seq int64) (st RowState, err error) {
	const row = `SELECT created_at, coalesce(published_at, 0), attempts FROM outbox WHERE key = ? AND seq = ?`
	var created, published int64
	err = s.reader().QueryRowContext(ctx, row, key, seq).Scan(&created, &published, &st.Attempts)
	if errors.Is(err, sql.ErrNoRows) {
		return RowState{}, ErrNoRow
	}
	if err != nil {
		return RowState{}, fmt.Errorf("look at %s/%d in the outbox: %w", key, seq, err)
	}
	st.CreatedAt = time.UnixMicro(created).UTC()
	if published != 0 {
		st.PublishedAt = time.UnixMicro(published).UTC()
	}
	return st, nil
}
