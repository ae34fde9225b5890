package outbox

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// cursor is the bug of a relay that remembers how far it came: ids become visible out of order.
var cursor atomic.Int64

// fetchAbove is Fetch with that bug, for the mutant cursor-over-ids; an ordinary build does not contain it. The cursor
// passes over the rows of all shards, so that a row which becomes visible late is skipped by the one relay that has it.
func (s Postgres) fetchAbove(ctx context.Context, shards []int, limit int) (out []Row, err error) {
	const above = `SELECT id, shard, key, seq, payload FROM chatroom.outbox WHERE id > $1 ORDER BY id LIMIT $2`
	for seen := limit; len(out) == 0 && seen == limit; {
		rows, err := s.Pool.Query(ctx, above, cursor.Load(), limit)
		if err != nil {
			return nil, err
		}
		var id int64
		var r Row
		seen = 0
		_, err = pgx.ForEachRow(rows, []any{&id, &r.Shard, &r.Key, &r.Seq, &r.Payload}, func() error {
			if slices.Contains(shards, r.Shard) {
				out = append(out, r)
			}
			r.Payload = nil
			seen++
			cursor.Store(max(cursor.Load(), id))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
