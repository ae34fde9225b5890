package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// freshSQL accepts sends that are taken for new, in a transaction that is this statement alone. The update locks the rooms
// and counts from the head as it is then, which may be newer than the statement's snapshot. It takes them in the order of
// their names, which the caller gives and the table's index has: "= ANY(ARRAY[…])" can be joined by a nested loop only, over
// the one or the other. A key that exists already, or that another replica commits meanwhile, is refused as not unique, and
// nothing is accepted. The answer is each room's head before; NULL where the room is missing, and then its sends get no row.
//
// A send names its room as the n-th, and its place among those of the room. Its head is looked up in an array, and the rows
// are unnested in a list of results: to join them, to sort them, or to unnest them as a table would each copy the payloads.
// So the keys come in their order, against deadlocks with a replica that accepts the same keys for other rooms, and the events
// in the order of their places, in which the outbox numbers them.
var freshSQL = `
WITH moved AS (
    UPDATE chatroom.rooms AS r SET head = r.head + c.sends
    FROM unnest($6::text[], $7::bigint[]) WITH ORDINALITY AS c(room, sends, n) WHERE r.room = ANY(ARRAY[c.room])
    RETURNING c.n, r.head - c.sends AS before
), heads AS MATERIALIZED (
    SELECT array_agg(m.before ORDER BY c.n) AS before
    FROM unnest($6::text[]) WITH ORDINALITY AS c(room, n) LEFT JOIN moved AS m ON m.n = c.n
), keys AS (
    INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
    SELECT s.sender, s.id, s.room, h.before[s.n] + s.place, s.digest, s.sent_at
    FROM heads AS h, (
        SELECT unnest($8::text[]) AS sender, unnest($4::text[]) AS id, unnest($9::text[]) AS room, unnest($10::bigint[]) AS n,
            unnest($11::bigint[]) AS place, unnest($5::bytea[]) AS digest, unnest($12::timestamptz[]) AS sent_at
    ) AS s
    WHERE h.before[s.n] IS NOT NULL` +
	mutant.Text(mutant.NoIdempotencyKey, ` ON CONFLICT DO NOTHING`) + `
), numbered AS (
    SELECT s.*, h.before[s.n] + s.place AS seq
    FROM heads AS h, (
        SELECT unnest($13::smallint[]) AS shard, unnest($14::text[]) AS key, unnest($15::bigint[]) AS n, unnest($16::bigint[]) AS place,
            unnest($2::bytea[]) AS head, unnest($3::bytea[]) AS between, unnest($1::bytea[]) AS tail
    ) AS s
    WHERE h.before[s.n] IS NOT NULL
), events AS (
    SELECT shard, key, seq, head || convert_to(seq::text, 'UTF8') || between || convert_to(seq::text, 'UTF8') || tail AS payload
    FROM numbered
), appended AS (` + outbox.AppendInOrder("events") + `
)
SELECT before FROM heads`

// attemptFresh is [Postgres.attempt] with commit for candidates that are taken for new and have different keys. It fills in
// receipts only with a nil error.
func (p *Postgres) attemptFresh(ctx context.Context, cs []candidate, receipts []Receipt) (left []candidate, err error) {
	events, err := columnsOf(cs)
	if err != nil {
		return nil, err
	}
	names := rooms(cs)
	nth := make(map[string]int64, len(names)) // SQL counts from 1
	for i, name := range names {
		nth[name] = int64(i + 1)
	}
	sends := make([]int64, len(names))
	at := spots{n: make([]int64, len(cs)), place: make([]int64, len(cs))}
	for i := range cs {
		n := nth[cs[i].send.Room]
		sends[n-1]++
		at.n[i], at.place[i] = n, sends[n-1]
	}
	keys, keysAt := inKeyOrder(events, at)
	var before []*int64 // the heads
	if err := p.alone(ctx, func(conn *pgxpool.Conn) error {
		// The largest first: what holds them all while they are written grows by large steps, and seldom.
		return conn.QueryRow(ctx, freshSQL, events.after, events.before, events.between, keys.ids, keys.digests, names, sends,
			keys.senders, keys.rooms, keysAt.n, keysAt.place, keys.times, events.shards, events.rooms, at.n, at.place).Scan(&before)
	}); err != nil {
		return nil, err
	}
	if len(before) != len(names) {
		return nil, fmt.Errorf("accept: %w: %d heads of %d rooms", ErrUnknownOutcome, len(before), len(names))
	}
	for i, c := range cs {
		head := before[at.n[i]-1]
		if head == nil {
			left = append(left, c)
			continue
		}
		seq := *head + at.place[i]
		receipts[c.at] = Receipt{Seq: seq, SentAt: c.send.SentAt, Event: events.event(i, seq)}
	}
	return left, nil
}

// spots tell for each send which room is its own, counted from 1, and its place among those of the room, from 1 too.
type spots struct{ n, place []int64 }

// inKeyOrder returns what the table of keys holds of the sends, in the order of its primary key.
func inKeyOrder(in columns, at spots) (columns, spots) {
	order := make([]int, len(in.ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(strings.Compare(in.senders[a], in.senders[b]), strings.Compare(in.ids[a], in.ids[b]))
	})
	return columns{
		senders: pick(in.senders, order), ids: pick(in.ids, order), rooms: pick(in.rooms, order),
		digests: pick(in.digests, order), times: pick(in.times, order),
	}, spots{n: pick(at.n, order), place: pick(at.place, order)}
}

// pick returns the elements of from in an order of their indexes.
func pick[T any](from []T, order []int) []T {
	to := make([]T, len(order))
	for i, o := range order {
		to[i] = from[o]
	}
	return to
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
