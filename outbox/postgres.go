package outbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Postgres is the [Store] in PostgreSQL, schema chatroom. Each method is one round trip and one transaction.
type Postgres struct {
	Pool *pgxpool.Pool
}

var _ Store = Postgres{}

// planByIndex leaves the planner only walks along an index, for the statement that follows in the same implicit transaction.
// The table swings between empty and millions of rows faster than its statistics, so that a plan made for a small table
// would read a large one from end to end. It also makes writers lock rows in the order of their arrays, which are sorted:
// with a hash join, two relays that mark the same window deadlock. What is "off" costs 10^10 where it cannot be avoided,
// which would start the JIT compiler, for a second; so that is off as well.
const planByIndex = `
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_sort', 'off', true), set_config('max_parallel_workers_per_gather', '0', true),
       set_config('jit', 'off', true)`

// withoutSync lets the transaction be acknowledged before it is on disk. What the relay writes may be lost with a crash of
// the server: a mark that is lost is a row published twice, a removal that is lost is made again by the sweep.
const withoutSync = `, set_config('synchronous_commit', 'off', true)`

// exec runs one statement by index and returns how many rows it changed.
func (s Postgres) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	b := &pgx.Batch{}
	b.Queue(planByIndex + withoutSync)
	b.Queue(query, args...).Exec(func(tag pgconn.CommandTag) error {
		n = tag.RowsAffected()
		return nil
	})
	return n, s.Pool.SendBatch(ctx, b).Close()
}

// query runs one statement by index and returns its rows.
func query[T any](ctx context.Context, s Postgres, scan pgx.RowToFunc[T], query string, args ...any) (out []T, err error) {
	b := &pgx.Batch{}
	b.Queue(planByIndex)
	b.Queue(query, args...).Query(func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectRows(rows, scan)
		return err
	})
	return out, s.Pool.SendBatch(ctx, b).Close()
}

// fetchPostgres has a branch for each shard, each in the order of id by itself, so that the planner merges them and stops at
// the limit. Without the inner ORDER BY it sorts the whole backlog for every window, and so it does with "shard = ANY":
// 2.6 s instead of 2 ms with 500,000 rows waiting.
func fetchPostgres(shards int) string {
	var b strings.Builder
	b.WriteString(`
SELECT shard, key, seq, payload FROM (
    SELECT o.*, sum(octet_length(o.payload)) OVER (ORDER BY o.id ROWS UNBOUNDED PRECEDING) - octet_length(o.payload) AS before
    FROM (SELECT * FROM (`)
	for i := range shards {
		if i > 0 {
			b.WriteString(` UNION ALL`)
		}
		b.WriteString(`
        (SELECT id, shard, key, seq, payload FROM chatroom.outbox
         WHERE published_at IS NULL AND shard = $` + strconv.Itoa(i+3) + ` ORDER BY id LIMIT $1)`)
	}
	b.WriteString(`) s ORDER BY id LIMIT $1) o) w
WHERE before < $2 ORDER BY id`)
	return b.String()
}

// Fetch implements [Store].
func (s Postgres) Fetch(ctx context.Context, shards []int, limit int) ([]Row, error) {
	if len(shards) == 0 || limit <= 0 {
		return nil, nil
	}
	args := make([]any, 0, 2+len(shards))
	args = append(args, limit, WindowBytes)
	for _, sh := range shards {
		args = append(args, int16(sh))
	}
	if mutant.CursorOverIDs {
		return s.fetchAbove(ctx, shards, limit)
	}
	rows, err := query(ctx, s, pgx.RowToStructByPos[Row], fetchPostgres(len(shards)), args...)
	if err != nil {
		return nil, fmt.Errorf("fetch from outbox: %w", err)
	}
	return rows, nil
}

// markPostgres leaves one plan, as removePostgres does: one descent of the primary key for each run. When the last vacuum
// found the outbox empty, as it is before an outage, the planner takes it for one row. Then it would rather walk all of it,
// and look at all runs for each row: a minute for a window. "key = r.key" lets it, by the order of an index, and so does
// "published_at IS NULL", by the partial index.
const markPostgres = `
UPDATE chatroom.outbox AS o
SET published_at = clock_timestamp(), attempts = o.attempts + 1
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(key, first, last)
WHERE o.key = ANY(ARRAY[r.key]) AND o.seq BETWEEN r.first AND r.last AND coalesce(o.published_at, 'infinity') = 'infinity'`

// MarkPublished implements [Store].
func (s Postgres) MarkPublished(ctx context.Context, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	keys, firsts, lasts := runs(rows)
	if _, err := s.exec(ctx, markPostgres, keys, firsts, lasts); err != nil {
		return fmt.Errorf("mark %d outbox rows published: %w", len(rows), err)
	}
	return nil
}

// runs returns the rows, sorted, as runs of seqs without a hole.
func runs(rows []Row) (keys []string, firsts, lasts []int64) {
	for _, r := range slices.SortedFunc(slices.Values(rows), compareRows) {
		n := len(keys) - 1
		if n >= 0 && keys[n] == r.Key && r.Seq <= lasts[n]+1 {
			lasts[n] = r.Seq
			continue
		}
		keys, firsts, lasts = append(keys, r.Key), append(firsts, r.Seq), append(lasts, r.Seq)
	}
	return keys, firsts, lasts
}

func compareRows(a, b Row) int {
	if c := strings.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	switch {
	case a.Seq < b.Seq:
		return -1
	case a.Seq > b.Seq:
		return 1
	}
	return 0
}

const removePostgres = `
DELETE FROM chatroom.outbox AS o
USING unnest($1::text[], $2::bigint[]) AS m(key, mark)
WHERE o.key = ANY(ARRAY[m.key]) AND o.seq <= m.mark`

// Remove implements [Store].
func (s Postgres) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	if len(stored) == 0 {
		return 0, nil
	}
	keys := slices.Sorted(maps.Keys(stored))
	marks := make([]int64, len(keys))
	for i, k := range keys {
		marks[i] = stored[k]
	}
	n, err := s.exec(ctx, removePostgres, keys, marks)
	if err != nil {
		return 0, fmt.Errorf("remove stored rows of %d keys from outbox: %w", len(keys), err)
	}
	return n, nil
}

const mayVacuumPostgres = `
SELECT CASE WHEN current_setting('server_version_num')::int >= 170000
    THEN has_table_privilege('chatroom.outbox', 'MAINTAIN')
    ELSE (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'chatroom.outbox'::regclass) END`

// vacuumPostgres leaves the file as long as it is: it will be needed again, and to shorten it takes a lock that stops all.
// Workers would share the dead rows' list in /dev/shm, which is small in containers.
const vacuumPostgres = `VACUUM (SKIP_LOCKED, TRUNCATE false, PARALLEL 0) chatroom.outbox`

// MayVacuum tells whether the database role may vacuum the outbox. To one that may not, VACUUM answers with a warning in the
// server's log, and success.
func (s Postgres) MayVacuum(ctx context.Context) (may bool, err error) {
	if err = s.Pool.QueryRow(ctx, mayVacuumPostgres).Scan(&may); err != nil {
		return false, fmt.Errorf("ask for the right to vacuum the outbox: %w", err)
	}
	return may, nil
}

// Vacuum implements [Store].
func (s Postgres) Vacuum(ctx context.Context) error {
	may, err := s.MayVacuum(ctx)
	if err == nil && !may {
		return ErrMayNotVacuum
	}
	if err == nil {
		_, err = s.Pool.Exec(ctx, vacuumPostgres, pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil {
		return fmt.Errorf("vacuum the outbox: %w", err)
	}
	return nil
}

// unstoredPostgres walks the primary key from key to key, one descent of the index each, and looks at the lowest row of
// each: rows of a key are published in order, so it is the oldest. The outer LIMIT ends the recursion early.
const unstoredPostgres = `
WITH RECURSIVE lowest AS (
    (SELECT key, seq, shard, published_at FROM chatroom.outbox WHERE key > $1 ORDER BY key, seq LIMIT 1)
    UNION ALL
    SELECT n.* FROM lowest l CROSS JOIN LATERAL (
        SELECT o.key, o.seq, o.shard, o.published_at FROM chatroom.outbox o WHERE o.key > l.key ORDER BY o.key, o.seq LIMIT 1
    ) n
)
SELECT key, seq FROM lowest
WHERE shard = ANY($2::smallint[]) AND published_at <= clock_timestamp() - $3::interval
LIMIT $4`

// Unstored implements [Store].
func (s Postgres) Unstored(
	ctx context.Context, shards []int, afterKey string, olderThan time.Duration, limit int,
) ([]Lowest, error) {
	if len(shards) == 0 || limit <= 0 {
		return nil, nil
	}
	keys, err := query(ctx, s, pgx.RowToStructByPos[Lowest], unstoredPostgres, afterKey, shards, olderThan, limit)
	if err != nil {
		return nil, fmt.Errorf("look for unstored outbox rows: %w", err)
	}
	return keys, nil
}

const republishPostgres = `
UPDATE chatroom.outbox AS o SET published_at = NULL
WHERE o.key = $1 AND o.seq > $2 AND o.published_at IS NOT NULL AND o.seq <= (
    SELECT max(seq) FROM (
        SELECT seq FROM chatroom.outbox WHERE key = $1 AND seq > $2 AND published_at IS NOT NULL ORDER BY seq LIMIT $3
    ) AS r
)`

// Republish implements [Store].
func (s Postgres) Republish(ctx context.Context, key string, after int64, limit int) (int64, error) {
	n, err := s.exec(ctx, republishPostgres, key, after, limit)
	if err != nil {
		return 0, fmt.Errorf("republish outbox rows of %s: %w", key, err)
	}
	return n, nil
}

const oldestPostgres = `
SELECT coalesce(max(abs(extract(epoch FROM clock_timestamp() - o.created_at))), 0)::float8
FROM unnest($1::smallint[]) AS s(shard) CROSS JOIN LATERAL (
    SELECT created_at FROM chatroom.outbox WHERE published_at IS NULL AND shard = s.shard ORDER BY shard, id LIMIT 1
) o`

// Oldest implements [Store].
func (s Postgres) Oldest(ctx context.Context, shards []int) (time.Duration, error) {
	seconds, err := query(ctx, s, pgx.RowTo[float64], oldestPostgres, shards)
	if err != nil {
		return 0, fmt.Errorf("look for the oldest outbox row: %w", err)
	}
	return time.Duration(seconds[0] * float64(time.Second)), nil
}

// statsPostgres counts up to a bound, and above it trusts the planner's estimates: a count of millions would read them all.
// The oldest row is looked up shard by shard, each the first entry of the partial index.
const statsPostgres = `
WITH RECURSIVE shards AS (
    (SELECT shard, created_at FROM chatroom.outbox WHERE published_at IS NULL ORDER BY shard, id LIMIT 1)
    UNION ALL
    SELECT n.* FROM shards s CROSS JOIN LATERAL (
        SELECT o.shard, o.created_at FROM chatroom.outbox o
        WHERE o.published_at IS NULL AND o.shard > s.shard ORDER BY o.shard, o.id LIMIT 1
    ) n
), counted AS (
    SELECT (SELECT count(*) FROM (SELECT FROM chatroom.outbox WHERE published_at IS NULL LIMIT $1) u) AS unpublished,
           (SELECT count(*) FROM (SELECT FROM chatroom.outbox LIMIT $1) a) AS unstored
)
SELECT CASE WHEN unpublished < $1 THEN unpublished
            ELSE greatest(unpublished,
                (SELECT reltuples FROM pg_class WHERE oid = 'chatroom.outbox_unpublished'::regclass)::bigint) END,
       CASE WHEN unstored < $1 THEN unstored
            ELSE greatest(unstored,
                (SELECT reltuples FROM pg_class WHERE oid = 'chatroom.outbox'::regclass)::bigint) END,
       coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(created_at) FROM shards)), 0)::float8
FROM counted`

// Stats implements [Store].
func (s Postgres) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	var seconds float64
	err := s.Pool.QueryRow(ctx, statsPostgres, StatsExact).Scan(&st.Unpublished, &st.Unstored, &seconds)
	if err != nil {
		return Stats{}, fmt.Errorf("count outbox: %w", err)
	}
	st.Oldest = time.Duration(seconds * float64(time.Second))
	return st, nil
}
