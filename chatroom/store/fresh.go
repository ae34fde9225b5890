package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// freshSQL accepts sends that are taken for new, in a transaction that is this statement alone. It locks each room, in the
// order of the names, and the update counts from the head as it is then, which may be newer than the statement's snapshot;
// place is a send's among those of its room. A key that exists already, or that another replica commits meanwhile, is refused
// as not unique, and nothing is accepted. A send whose room is missing gets no row. It answers with a row for each room: the
// client can count as well, and the arrays are unnested where they are used, so that no wide row is kept between.
var freshSQL = `
WITH locked AS MATERIALIZED (
    SELECT room FROM chatroom.rooms WHERE room = ANY($1::text[]) ORDER BY room FOR UPDATE
), heads AS (
    UPDATE chatroom.rooms AS r SET head = r.head + c.sends
    FROM locked AS l JOIN unnest($1::text[], $2::bigint[]) AS c(room, sends) ON c.room = l.room
    WHERE r.room = l.room RETURNING r.room, r.head - c.sends AS before
), keys AS (
    INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
    SELECT s.sender, s.id, s.room, h.before + s.place, s.digest, s.sent_at
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[], $8::timestamptz[]) AS s(sender, id, room, place, digest, sent_at)
    JOIN heads AS h ON h.room = s.room ORDER BY s.sender COLLATE "C", s.id COLLATE "C"` +
	mutant.Text(mutant.NoIdempotencyKey, ` ON CONFLICT DO NOTHING`) + `
), numbered AS (
    SELECT s.*, h.before + s.place AS seq
    FROM unnest($5::text[], $6::bigint[], $9::smallint[], $10::bytea[], $11::bytea[], $12::bytea[]) AS s(room, place, shard, head, between, tail)
    JOIN heads AS h ON h.room = s.room
), events AS (
    SELECT shard, room AS key, seq, head || convert_to(seq::text, 'UTF8') || between || convert_to(seq::text, 'UTF8') || tail AS payload
    FROM numbered
), appended AS (` + outbox.AppendFrom("events") + `
)
SELECT room, before FROM heads`

// attemptFresh is [Postgres.attempt] with commit for candidates that are taken for new and have different keys. It fills in
// receipts only with a nil error.
func (p *Postgres) attemptFresh(ctx context.Context, cs []candidate, receipts []Receipt) (left []candidate, err error) {
	in, err := columnsOf(cs)
	if err != nil {
		return nil, err
	}
	names := rooms(cs)
	of := make(map[string]int64, len(names))
	places := make([]int64, len(cs))
	for i := range cs {
		of[cs[i].send.Room]++
		places[i] = of[cs[i].send.Room]
	}
	sends := make([]int64, len(names))
	for i, name := range names {
		sends[i] = of[name]
	}
	var before map[string]int64 // the heads
	if err := p.alone(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, freshSQL, names, sends, in.senders, in.ids, in.rooms, places, in.digests, in.times, in.shards,
			in.before, in.between, in.after)
		if err != nil {
			return err
		}
		before, err = scanHeads(rows)
		return err
	}); err != nil {
		return nil, err
	}
	for i, c := range cs {
		head, ok := before[c.send.Room]
		if !ok {
			left = append(left, c)
			continue
		}
		seq := head + places[i]
		receipts[c.at] = Receipt{Seq: seq, SentAt: c.send.SentAt, Event: in.event(i, seq)}
	}
	return left, nil
}

// alone runs a statement that is an accepting transaction by itself, and tells an unknown outcome from a refusal.
func (p *Postgres) alone(ctx context.Context, statement func(*pgxpool.Conn) error) error {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	defer conn.Release() // a connection whose answer is still to come is closed
	switch err := statement(conn); {
	case err == nil:
		return nil
	case isUnknown(err):
		return fmt.Errorf("accept: %w: %w", ErrUnknownOutcome, err)
	default:
		return fmt.Errorf("accept: %w", err)
	}
}
