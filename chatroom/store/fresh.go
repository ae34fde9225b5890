package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// freshSQL accepts sends that are taken for new, in a transaction that is this statement alone. It locks each room, in the
// order of the names, and the update counts from the head as it is then, which may be newer than the statement's snapshot;
// place is a send's among those of its room. A key that exists already, or that another replica commits meanwhile, is refused as not unique, and nothing is
// accepted. A send whose room is missing gets no row.
var freshSQL = `
WITH locked AS MATERIALIZED (
    SELECT room FROM chatroom.rooms WHERE room = ANY($1::text[]) ORDER BY room FOR UPDATE
), heads AS (
    UPDATE chatroom.rooms AS r SET head = r.head + c.sends
    FROM locked AS l JOIN unnest($1::text[], $2::bigint[]) AS c(room, sends) ON c.room = l.room
    WHERE r.room = l.room RETURNING r.room, r.head - c.sends AS before
), fresh AS MATERIALIZED (
    SELECT s.*, h.before + s.place AS seq
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[], $8::timestamptz[], $9::smallint[], $10::bytea[], $11::bytea[],
        $12::bytea[]) WITH ORDINALITY AS s(sender, id, room, place, digest, sent_at, shard, head, between, tail, n)
    JOIN heads AS h ON h.room = s.room
), keys AS (
    INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
    SELECT sender, id, room, seq, digest, sent_at FROM fresh ORDER BY sender COLLATE "C", id COLLATE "C"` +
	mutant.Text(mutant.NoIdempotencyKey, ` ON CONFLICT DO NOTHING`) + `
), events AS (
    SELECT shard, room AS key, seq, head || convert_to(seq::text, 'UTF8') || between || convert_to(seq::text, 'UTF8') || tail AS payload
    FROM fresh
), appended AS (` + outbox.AppendFrom("events") + `
)
SELECT n, seq FROM fresh`

// caution is how long all sends are looked up first, after one was there already: who sends again sends more of them again.
const caution = time.Second

// cautious remembers that sends may not be new.
type cautious struct{ until atomic.Int64 }

func (c *cautious) warn()        { c.until.Store(time.Now().Add(caution).UnixNano()) }
func (c *cautious) warned() bool { return time.Now().UnixNano() < c.until.Load() }

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
	seqs := make([]int64, len(cs))
	if err := p.alone(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, freshSQL, names, sends, in.senders, in.ids, in.rooms, places, in.digests, in.times, in.shards,
			in.before, in.between, in.after)
		if err != nil {
			return err
		}
		var n, seq int64
		_, err = pgx.ForEachRow(rows, []any{&n, &seq}, func() error { seqs[n-1] = seq; return nil })
		return err
	}); err != nil {
		return nil, err
	}
	for i, c := range cs {
		if seqs[i] == 0 {
			left = append(left, c)
			continue
		}
		receipts[c.at] = Receipt{Seq: seqs[i], SentAt: c.send.SentAt, Event: in.event(i, seqs[i])}
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
