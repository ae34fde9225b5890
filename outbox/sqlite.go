package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// sqliteNow is the database's clock in unix microseconds; SQLite gives it to the millisecond.
const sqliteNow = `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`

// SQLite is the [Store] in a SQLite file. Read, if set, is a pool for reading, so that a fetch does not wait for the one
// writing connection.
type SQLite struct {
	DB   *sql.DB
	Read *sql.DB
}

var _ Store = SQLite{}

func (s SQLite) reader() *sql.DB {
	if s.Read != nil {
		return s.Read
	}
	return s.DB
}

// fetchSQLite has a branch for each shard: SQLite merges the branches of a compound in the order of id, and stops at the limit.
func fetchSQLite(shards int) string {
	const branch = `SELECT id, shard, key, seq, payload FROM outbox INDEXED BY outbox_unpublished WHERE published_at IS NULL AND shard = ?`
	return strings.Repeat(branch+" UNION ALL ", shards-1) + branch + " ORDER BY id LIMIT ?"
}

// Fetch implements [Store].
func (s SQLite) Fetch(ctx context.Context, shards []int, limit int) ([]Row, error) {
	if len(shards) == 0 || limit <= 0 {
		return nil, nil
	}
	args := make([]any, 0, len(shards)+1)
	for _, sh := range shards {
		args = append(args, sh)
	}
	res, err := s.reader().QueryContext(ctx, fetchSQLite(len(shards)), append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("fetch from outbox: %w", err)
	}
	defer func() { _ = res.Close() }()
	var rows []Row
	for size := 0; size < WindowBytes && res.Next(); {
		var id int64
		var r Row
		if err := res.Scan(&id, &r.Shard, &r.Key, &r.Seq, &r.Payload); err != nil {
			return nil, fmt.Errorf("fetch from outbox: %w", err)
		}
		size += len(r.Payload)
		rows = append(rows, r)
	}
	if err := res.Err(); err != nil {
		return nil, fmt.Errorf("fetch from outbox: %w", err)
	}
	return rows, nil
}

const markSQLite = `
UPDATE outbox SET published_at = ` + sqliteNow + `, attempts = attempts + 1
WHERE published_at IS NULL AND id IN (
    SELECT o.id FROM json_each(?) AS r CROSS JOIN outbox AS o
    WHERE o.key = json_extract(r.value, '$[0]') AND o.seq = json_extract(r.value, '$[1]')
)`

// MarkPublished implements [Store].
func (s SQLite) MarkPublished(ctx context.Context, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	pairs := make([][2]any, len(rows))
	for i, r := range rows {
		pairs[i] = [2]any{r.Key, r.Seq}
	}
	arg, err := json.Marshal(pairs)
	if err == nil {
		_, err = s.DB.ExecContext(ctx, markSQLite, string(arg))
	}
	if err != nil {
		return fmt.Errorf("mark %d outbox rows published: %w", len(rows), err)
	}
	return nil
}

const removeSQLite = `
DELETE FROM outbox WHERE id IN (
    SELECT o.id FROM json_each(?) AS m CROSS JOIN outbox AS o WHERE o.key = m.key AND o.seq <= m.value
)`

// Remove implements [Store].
func (s SQLite) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	if len(stored) == 0 {
		return 0, nil
	}
	arg, err := json.Marshal(stored)
	if err != nil {
		return 0, fmt.Errorf("remove stored rows from outbox: %w", err)
	}
	return s.exec(ctx, fmt.Sprintf("remove stored rows of %d keys from outbox", len(stored)), removeSQLite, string(arg))
}

// unstoredSQLite walks from key to key as unstoredPostgres does, with one descent of the index each.
const unstoredSQLite = `
WITH RECURSIVE keys(key) AS (
    SELECT min(key) FROM outbox WHERE key > ?1
    UNION ALL
    SELECT (SELECT min(o.key) FROM outbox AS o WHERE o.key > k.key) FROM keys AS k WHERE k.key IS NOT NULL
)
SELECT o.key, o.seq FROM keys AS k CROSS JOIN outbox AS o
WHERE o.key = k.key AND o.seq = (SELECT min(seq) FROM outbox WHERE key = k.key)
  AND o.published_at <= ` + sqliteNow + ` - ?2 AND o.shard IN (SELECT value FROM json_each(?3))
LIMIT ?4`

// Unstored implements [Store].
func (s SQLite) Unstored(
	ctx context.Context, shards []int, afterKey string, olderThan time.Duration, limit int,
) ([]Lowest, error) {
	if len(shards) == 0 || limit <= 0 {
		return nil, nil
	}
	arg, err := json.Marshal(shards)
	if err != nil {
		return nil, fmt.Errorf("look for unstored outbox rows: %w", err)
	}
	res, err := s.reader().QueryContext(ctx, unstoredSQLite, afterKey, olderThan.Microseconds(), string(arg), limit)
	if err != nil {
		return nil, fmt.Errorf("look for unstored outbox rows: %w", err)
	}
	defer func() { _ = res.Close() }()
	var keys []Lowest
	for res.Next() {
		var l Lowest
		if err := res.Scan(&l.Key, &l.Seq); err != nil {
			return nil, fmt.Errorf("look for unstored outbox rows: %w", err)
		}
		keys = append(keys, l)
	}
	if err := res.Err(); err != nil {
		return nil, fmt.Errorf("look for unstored outbox rows: %w", err)
	}
	return keys, nil
}

const republishSQLite = `
UPDATE outbox SET published_at = NULL WHERE id IN (
    SELECT id FROM outbox WHERE key = ? AND seq > ? AND published_at IS NOT NULL ORDER BY seq LIMIT ?
)`

// Republish implements [Store].
func (s SQLite) Republish(ctx context.Context, key string, after int64, limit int) (int64, error) {
	return s.exec(ctx, "republish outbox rows of "+key, republishSQLite, key, after, limit)
}

const oldestSQLite = `
SELECT coalesce(max(abs(` + sqliteNow + ` - (
    SELECT created_at FROM outbox INDEXED BY outbox_unpublished WHERE published_at IS NULL AND shard = s.value ORDER BY id LIMIT 1
))), 0) FROM json_each(?) AS s`

// Oldest implements [Store].
func (s SQLite) Oldest(ctx context.Context, shards []int) (time.Duration, error) {
	arg, err := json.Marshal(shards)
	var micros int64
	if err == nil {
		err = s.reader().QueryRowContext(ctx, oldestSQLite, string(arg)).Scan(&micros)
	}
	if err != nil {
		return 0, fmt.Errorf("look for the oldest outbox row: %w", err)
	}
	return time.Duration(micros) * time.Microsecond, nil
}

// statsSQLite looks up the oldest row shard by shard, each the first entry of the partial index, as statsPostgres does.
const statsSQLite = `
WITH RECURSIVE shards(shard) AS (
    SELECT min(shard) FROM outbox INDEXED BY outbox_unpublished WHERE published_at IS NULL
    UNION ALL
    SELECT (SELECT min(o.shard) FROM outbox AS o INDEXED BY outbox_unpublished WHERE o.published_at IS NULL AND o.shard > s.shard)
    FROM shards AS s WHERE s.shard IS NOT NULL
), oldest(id) AS (
    SELECT (SELECT o.id FROM outbox AS o INDEXED BY outbox_unpublished
            WHERE o.published_at IS NULL AND o.shard = s.shard ORDER BY o.id LIMIT 1)
    FROM shards AS s
)
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_unpublished WHERE published_at IS NULL LIMIT ?1)),
       (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?1)),
       coalesce((SELECT max(id) - min(id) + 1 FROM outbox), 0),
       coalesce(` + sqliteNow + ` - (SELECT min(created_at) FROM outbox WHERE id IN (SELECT id FROM oldest)), 0)`

// Vacuum implements [Store]: pages of removed rows are free at once.
func (s SQLite) Vacuum(context.Context) error { return nil }

// Stats implements [Store]. Above StatsExact the span of ids is the estimate of all rows, and unpublished ones are not told
// beyond it.
func (s SQLite) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	var span, micros int64
	err := s.reader().QueryRowContext(ctx, statsSQLite, StatsExact).Scan(&st.Unpublished, &st.Unstored, &span, &micros)
	if err != nil {
		return Stats{}, fmt.Errorf("count outbox: %w", err)
	}
	if st.Unstored == StatsExact {
		st.Unstored = max(span, StatsExact)
	}
	st.Oldest = max(0, time.Duration(micros)*time.Microsecond)
	return st, nil
}

func (s SQLite) exec(ctx context.Context, what, query string, args ...any) (int64, error) {
	res, err := s.DB.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return n, nil
}

// Lease implements [Store]. It takes the steps told in lease.go; one process owns the file, so they may well be counted in Go.
func (s SQLite) Lease(ctx context.Context, owner string, shards int, ttl time.Duration) (held []int, err error) {
	if err := checkLease(owner, shards, ttl); err != nil {
		return nil, err
	}
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("lease outbox shards: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error tells more
			held, err = nil, fmt.Errorf("lease outbox shards: %w", err)
		}
	}()
	// A write comes first, so that the transaction holds the write lock before it reads.
	if _, err = tx.ExecContext(ctx, `DELETE FROM outbox_leases WHERE expires_at <= `+sqliteNow); err != nil {
		return nil, err
	}
	taken, owners, err := readLeases(ctx, tx)
	if err != nil {
		return nil, err
	}
	slot := presenceBase
	for ; taken[slot] != "" && taken[slot] != owner; slot++ {
	}
	if !slices.Contains(owners, owner) {
		owners = append(owners, owner)
	} else {
		for n, o := range taken {
			if n >= presenceBase && o == owner {
				slot = n
			}
		}
	}
	share := (shards + len(owners) - 1) / len(owners)
	for n := range shards { // what is held, before what is free
		if taken[n] == owner && len(held) < share {
			held = append(held, n)
		}
	}
	for n := range shards {
		if taken[n] == "" && len(held) < share {
			held = append(held, n)
		}
	}
	slices.Sort(held)
	if _, err = tx.ExecContext(ctx, `DELETE FROM outbox_leases WHERE owner = ?`, owner); err != nil {
		return nil, err
	}
	for _, n := range append([]int{slot}, held...) {
		if _, err = tx.ExecContext(ctx, `INSERT INTO outbox_leases (shard, owner, expires_at) VALUES (?, ?, `+sqliteNow+` + ?)`,
			n, owner, ttl.Microseconds()); err != nil {
			return nil, err
		}
	}
	return held, tx.Commit()
}

// readLeases returns who has which row, and the owners that are present.
func readLeases(ctx context.Context, tx *sql.Tx) (taken map[int]string, owners []string, err error) {
	res, err := tx.QueryContext(ctx, `SELECT shard, owner FROM outbox_leases`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Close() }()
	taken = map[int]string{}
	for res.Next() {
		var n int
		var o string
		if err := res.Scan(&n, &o); err != nil {
			return nil, nil, err
		}
		taken[n] = o
		if n >= presenceBase {
			owners = append(owners, o)
		}
	}
	return taken, owners, res.Err()
}

// Release implements [Store].
func (s SQLite) Release(ctx context.Context, owner string) error {
	if _, err := s.DB.ExecContext(ctx, `DELETE FROM outbox_leases WHERE owner = ?`, owner); err != nil {
		return fmt.Errorf("release outbox shards: %w", err)
	}
	return nil
}
