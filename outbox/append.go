package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// The order of a key rests on ids that count up with seq: the statement hands out the ids in the order of seq, and the
// caller's lock on the key does the same between transactions.
const appendPostgres = `
INSERT INTO chatroom.outbox (shard, key, seq, payload)
SELECT r.shard, r.key, r.seq, r.payload
FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bytea[]) AS r(shard, key, seq, payload)
ORDER BY r.seq`

// QueueAppend queues one statement that appends the rows, for a batch that runs in the accepting transaction. The caller
// holds a lock on each key until its commit. A row whose (key, seq) exists fails the statement with SQLSTATE 23505.
func QueueAppend(b *pgx.Batch, rows []Row) {
	shards, keys := make([]int16, len(rows)), make([]string, len(rows))
	seqs, payloads := make([]int64, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		shards[i], keys[i], seqs[i], payloads[i] = int16(r.Shard), r.Key, r.Seq, r.Payload
	}
	b.Queue(appendPostgres, shards, keys, seqs, payloads)
}

// AppendFrom is an INSERT that appends the rows of a common table expression with the columns shard, key, seq and payload,
// for a larger statement of the accepting transaction. The conditions of [QueueAppend] hold.
func AppendFrom(name string) string {
	return `INSERT INTO chatroom.outbox (shard, key, seq, payload) SELECT shard, key, seq, payload FROM ` + name + ` ORDER BY seq` +
		mutant.Text(mutant.NoRoomLock, ` ON CONFLICT DO NOTHING`)
}

// AppendInOrder is [AppendFrom] for an expression whose plan yields the rows of each key in the order of seq already.
func AppendInOrder(name string) string {
	return `INSERT INTO chatroom.outbox (shard, key, seq, payload) SELECT shard, key, seq, payload FROM ` + name
}

const appendSQLite = `
INSERT INTO outbox (shard, key, seq, payload) VALUES (?, ?, ?, ?)`

// AppendSQLite appends the rows in tx, the accepting transaction. Rows of one key must be in the order of seq. A row whose
// (key, seq) exists fails the call with a constraint error.
func AppendSQLite(ctx context.Context, tx *sql.Tx, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	stmt, err := tx.PrepareContext(ctx, appendSQLite)
	if err != nil {
		return fmt.Errorf("prepare append to outbox: %w", err)
	}
	defer func() { _ = stmt.Close() }() // the transaction's outcome is decided by its commit
	for _, r := range rows {
		if _, err := stmt.ExecContext(ctx, r.Shard, r.Key, r.Seq, r.Payload); err != nil {
			return fmt.Errorf("append %s/%d to outbox: %w", r.Key, r.Seq, err)
		}
	}
	return nil
}
