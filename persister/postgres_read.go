package persister

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Bounds of one watermark statement: so many rooms, and so many rows of the index together.
const (
	advanceRooms   = 500
	advanceRows    = 10_000
	advanceMinStep = 16
)

// advanceSQL counts, for each room, the rows that follow on its watermark without a hole, looking at no more than $3 of
// them. In a range of different ascending numbers, those equal to start + position are exactly the unbroken beginning.
// $2 is a lower bound that the caller knows already. The caller has committed the rows from $4 to $5 itself: where they
// follow on the mark, nothing is looked at before their end. A room with a hole right above its mark costs one look
// into the index.
const advanceSQL = `
WITH r AS MATERIALIZED (
	SELECT t.room, t.first, t.last, greatest(t.known, (SELECT w.seq FROM persister.watermarks w WHERE w.room = t.room)) AS mark
	FROM unnest($1::text[], $2::bigint[], $4::bigint[], $5::bigint[]) AS t (room, known, first, last)
), f AS MATERIALIZED (
	SELECT r.room, r.mark, CASE WHEN r.first <= r.mark + 1 THEN greatest(r.mark, r.last) ELSE r.mark END AS start FROM r
), s AS MATERIALIZED (
	SELECT f.room, f.mark, f.start, f.start + CASE WHEN EXISTS (
		SELECT FROM persister.messages m WHERE m.room = f.room AND m.seq = f.start + 1
	) THEN $3::bigint ELSE 0 END AS upto
	FROM f
)
SELECT s.room, s.mark, s.start, (
	SELECT count(*) FROM (
		SELECT m.seq, row_number() OVER (ORDER BY m.seq) AS pos
		FROM persister.messages m
		WHERE m.room = s.room AND m.seq > s.start AND m.seq <= s.upto
	) n WHERE n.seq = s.start + n.pos
)
FROM s`

// raiseSQL never lowers a watermark, whatever another persister did in between. Its rooms come sorted, so that two
// persisters take the row locks in one order.
const raiseSQL = `
INSERT INTO persister.watermarks AS w (room, seq)
SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (room) DO UPDATE SET seq = excluded.seq WHERE w.seq < excluded.seq`

// markSQL reads a room's watermark, and whether the row above it is there.
const markSQL = `
SELECT k.mark, EXISTS (SELECT FROM persister.messages m WHERE m.room = $1 AND m.seq = k.mark + 1)
FROM (SELECT coalesce((SELECT w.seq FROM persister.watermarks w WHERE w.room = $1), 0) AS mark) k`

// pageSQL adds up the bytes in the direction of the page and keeps what fits; the first row always does. octet_length
// does not fetch a long text that is stored out of line.
func pageSQL(direction string) string {
	return `
SELECT seq, kind, id, sender, body, sent_at FROM (
	SELECT seq, kind, id, sender, body, sent_at, row_number() OVER w AS pos,
		sum(64 + octet_length(kind) + octet_length(id) + octet_length(sender) + octet_length(body)) OVER w AS bytes
	FROM persister.messages WHERE room = $1 AND seq > $2 AND seq <= $3
	WINDOW w AS (ORDER BY seq ` + direction + ` ROWS UNBOUNDED PRECEDING)
) p WHERE pos = 1 OR bytes <= $4 ORDER BY seq`
}

var pageForwardSQL, pageBackwardSQL = pageSQL("ASC"), pageSQL("DESC")

// Page implements [Store]. The mark is read before the rows, and rows are never removed, so every row up to it is there.
func (p *Postgres) Page(ctx context.Context, q PageQuery) (Page, error) {
	var mark int64
	var more bool
	if err := p.pool.QueryRow(ctx, markSQL, q.Room).Scan(&mark, &more); err != nil {
		return Page{}, fmt.Errorf("watermark of %s: %w", q.Room, err)
	}
	if more && q.wantsAbove(mark) {
		// Stored, but not announced yet, or its persister died before it could. One step is enough for a page.
		marks := map[string]int64{q.Room: mark}
		if _, err := p.step(ctx, []string{q.Room}, marks, nil); err != nil {
			return Page{}, err
		}
		mark = marks[q.Room]
	}
	low, high := q.span(mark)
	if low >= high {
		return q.page(nil, mark), nil
	}
	query := pageForwardSQL
	if q.Before > 0 {
		query = pageBackwardSQL
	}
	rows, err := p.pool.Query(ctx, query, q.Room, low, high, q.MaxBytes)
	if err != nil {
		return Page{}, fmt.Errorf("page of %s: %w", q.Room, err)
	}
	evs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (events.MessageSent, error) {
		m := events.MessageSent{Room: q.Room}
		err := row.Scan(&m.Seq, &m.Kind, &m.ID, &m.From, &m.Text, &m.SentAt)
		m.SentAt = m.SentAt.UTC()
		return m, err
	})
	if err != nil {
		return Page{}, fmt.Errorf("page of %s: %w", q.Room, err)
	}
	return q.page(evs, mark), nil
}

// AdvanceWatermarks implements [Store].
func (p *Postgres) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	rooms = slices.Compact(slices.Sorted(slices.Values(rooms)))
	marks := make(map[string]int64, len(rooms))
	for part := range slices.Chunk(rooms, advanceRooms) {
		inserted := p.inserted.take(part)
		for more := part; len(more) > 0; {
			var err error
			if more, err = p.step(ctx, more, marks, inserted); err != nil {
				p.inserted.forget()
				return nil, err
			}
			inserted = nil
		}
	}
	return marks, nil
}

// step moves the marks of the rooms (sorted, without repetition) by one bounded statement, and returns those rooms that
// may go further. marks holds what is known of them, and takes what is found.
func (p *Postgres) step(ctx context.Context, rooms []string, marks map[string]int64, inserted map[string]span) (more []string, err error) {
	advanced, more, err := p.find(ctx, rooms, marks, inserted)
	if err != nil || len(advanced) == 0 {
		return nil, err
	}
	names := make([]string, 0, len(advanced))
	seqs := make([]int64, 0, len(advanced))
	for _, room := range rooms {
		if seq, ok := advanced[room]; ok {
			names, seqs = append(names, room), append(seqs, seq)
		}
	}
	// A mark that is lost with a crash of the server is found again in the messages; nobody has to wait for the disk.
	var b pgx.Batch
	b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
	b.Queue(raiseSQL, names, seqs)
	if err := p.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("raise the watermarks of %d rooms: %w", len(names), err)
	}
	return more, nil
}

// find is step without a change: advanced are the rooms whose marks in the database are lower than what it found, and more
// those that may go further.
func (p *Postgres) find(
	ctx context.Context, rooms []string, marks map[string]int64, inserted map[string]span,
) (advanced map[string]int64, more []string, err error) {
	step := stepFor(len(rooms))
	known, firsts, lasts := make([]int64, len(rooms)), make([]int64, len(rooms)), make([]int64, len(rooms))
	for i, room := range rooms {
		known[i], firsts[i], lasts[i] = marks[room], inserted[room].first, inserted[room].last
	}
	query := advanceSQL
	if mutant.MarkOverHoles {
		query = advanceOverHolesSQL
	}
	rows, err := p.pool.Query(ctx, query, rooms, known, step, firsts, lasts)
	if err != nil {
		return nil, nil, fmt.Errorf("find the watermarks of %d rooms: %w", len(rooms), err)
	}
	advanced = map[string]int64{}
	var room string
	var mark, start, count int64
	if _, err := pgx.ForEachRow(rows, []any{&room, &mark, &start, &count}, func() error {
		marks[room] = start + count
		if start+count > mark {
			advanced[room] = start + count
		}
		if count == step {
			more = append(more, room)
		}
		return nil
	}); err != nil {
		return nil, nil, fmt.Errorf("find the watermarks of %d rooms: %w", len(rooms), err)
	}
	slices.Sort(more)
	return advanced, more, nil
}

// stepFor divides the rows that one statement may look at among the rooms.
func stepFor(rooms int) int64 { return max(advanceMinStep, advanceRows/int64(rooms)) }
