package outbox

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// cursor is the bug of a relay that remembers how far it came: ids become visible out of order.
var cursor atomic.Int64

// fetchAbove is Fetch with that bug, for the mutant cursor-over-ids; an ordinary build does not contain it.
func (s Postgres) fetchAbove(ctx context.Context, limit int) ([]Row, error) {
	const above = `SELECT id, shard, key, seq, payload FROM chatroom.outbox WHERE id > $1 ORDER BY id LIMIT $2`
	rows, err := s.Pool.Query(ctx, above, cursor.Load(), limit)
	if err != nil {
		return nil, err
	}
	var id int64
	var r Row
	var out []Row
	_, err = pgx.ForEachRow(rows, []any{&id, &r.Shard, &r.Key, &r.Seq, &r.Payload}, func() error {
		out = append(out, r)
		r.Payload = nil
		cursor.Store(max(cursor.Load(), id))
		return nil
	})
	return out, err
}
