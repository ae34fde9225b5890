package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// oneSQL accepts one send, in a transaction that is this statement alone. The update locks the room and counts from the
// head that it finds when it has the lock. A duplicate that another replica commits while it waits is not in the
// statement's snapshot; then the key is refused as not unique, which is a race. It accepts nothing, and has no row, where the
// send is known already or its room is missing: the long way tells which. It must not be this statement that says of a known
// send that it is accepted: a transaction that wrote nothing does not wait for a synchronous standby, which the known one may
// lack still.
var oneSQL = `
WITH known AS MATERIALIZED (
    SELECT FROM chatroom.accepted WHERE sender = $1 AND id = $2` +
	mutant.Text(mutant.NoIdempotencyKey, ` AND false`) + `
), fresh AS (
    UPDATE chatroom.rooms SET head = head + 1 WHERE room = $3 AND NOT EXISTS (SELECT FROM known) RETURNING head AS seq
), key AS (
    INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
    SELECT $1, $2, $3, seq, $4, $5 FROM fresh` +
	mutant.Text(mutant.NoIdempotencyKey, ` ON CONFLICT DO NOTHING`) + `
), event AS (
    SELECT $6::smallint AS shard, $3::text AS key, seq,
        $7::bytea || convert_to(seq::text, 'UTF8') || $8::bytea || convert_to(seq::text, 'UTF8') || $9::bytea AS payload
    FROM fresh
), appended AS (` + outbox.AppendFrom("event") + `
)
SELECT seq FROM fresh`

// attemptOne is [Postgres.attempt] with commit for a single candidate, which a chat room with little to do has as a rule: a
// statement of scalars needs half the server's time of one for any number. It accepts what is new, and nothing else.
func (p *Postgres) attemptOne(ctx context.Context, c candidate, receipts []Receipt) (accepted bool, err error) {
	in, err := columnsOf([]candidate{c})
	if err != nil {
		return false, err
	}
	var seq int64
	err = p.alone(ctx, func(conn *pgxpool.Conn) error {
		err := conn.QueryRow(ctx, oneSQL, c.send.Sender, c.send.ID, c.send.Room, c.digest[:], c.send.SentAt, in.shards[0],
			in.before[0], in.between[0], in.after[0]).Scan(&seq)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil || seq == 0 {
		return false, err
	}
	receipts[c.at] = Receipt{Seq: seq, SentAt: c.send.SentAt, Event: in.event(0, seq)}
	return true, nil
}
