package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// The statements of the accepting transaction, which are sent together: one round trip, so that no lock waits for a client.
const (
	// beginSQL names the level: each statement sees what was committed when it began, whatever the server's default is.
	beginSQL = `BEGIN ISOLATION LEVEL READ COMMITTED`

	// lockSQL sorts below the locking, so the rooms are locked in the order of their names.
	lockSQL = `SELECT room FROM chatroom.rooms WHERE room = ANY($1::text[]) ORDER BY room FOR UPDATE`
)

// acceptSQL must be a statement after lockSQL: a statement keeps the snapshot of its beginning while it waits for a lock,
// so that a head, or a duplicate, which committed meanwhile would be missed.
//
// known finds what was accepted before; its LIMIT keeps the planner from anything but a look-up in the index for each key,
// however little it knows of the table. fresh gives out the seqs. keys are inserted in their order, against deadlocks with
// a replica that accepts the same keys for other rooms. A send whose room is missing gets no row.
var acceptSQL = `
WITH sent AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[], $6::smallint[], $7::bytea[], $8::bytea[], $9::bytea[])
        WITH ORDINALITY AS s(sender, id, room, digest, sent_at, shard, before, between, after, n)
), known AS MATERIALIZED (
    SELECT s.n, a.room, a.seq, a.digest, a.sent_at
    FROM sent AS s
    JOIN LATERAL (SELECT * FROM chatroom.accepted WHERE sender = s.sender AND id = s.id` +
	mutant.Text(mutant.NoIdempotencyKey, ` AND false`) + ` LIMIT 1) AS a ON true
), fresh AS MATERIALIZED (
    SELECT s.*, r.head + row_number() OVER (PARTITION BY s.room ORDER BY s.n) AS seq
    FROM sent AS s JOIN chatroom.rooms AS r ON r.room = s.room
    WHERE s.n NOT IN (SELECT n FROM known)
), keys AS (
    INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
    SELECT sender, id, room, seq, digest, sent_at FROM fresh ORDER BY sender COLLATE "C", id COLLATE "C"` +
	mutant.Text(mutant.NoIdempotencyKey, ` ON CONFLICT DO NOTHING`) + `
), events AS (
    SELECT shard, room AS key, seq, before || convert_to(seq::text, 'UTF8') || between || convert_to(seq::text, 'UTF8') || after AS payload
    FROM fresh
), appended AS (` + outbox.AppendFrom("events") + `
), heads AS (
    UPDATE chatroom.rooms AS r SET head = f.head
    FROM (SELECT room, max(seq) AS head FROM fresh GROUP BY room) AS f WHERE r.room = f.room
)
SELECT n, true, room, seq, digest, sent_at FROM known
UNION ALL SELECT n, false, room, seq, digest, sent_at FROM fresh`

// attempt runs one accepting transaction; without commit it is rolled back at its end. It fills in the receipts, which
// mean something only with a nil error, and returns the candidates whose rooms are missing.
func (p *Postgres) attempt(ctx context.Context, cs []candidate, receipts []Receipt, commit bool) (left []candidate, err error) {
	firsts, repeated := split(cs)
	if commit && !mutant.NoRoomLock && !mutant.AsyncCommit { // these mutants are of the long way
		if len(cs) == 1 {
			accepted, err := p.attemptOne(ctx, cs[0], receipts)
			if accepted || err != nil && !isRace(err) {
				return nil, err
			}
		}
		if len(cs) > 1 && len(repeated) == 0 && !p.caution.Warned() {
			left, err := p.attemptFresh(ctx, firsts, receipts)
			if !isRace(err) {
				return left, err
			}
			p.caution.Warn()
		}
	}
	in, err := columnsOf(firsts)
	if err != nil {
		return nil, err
	}
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	defer conn.Release() // a connection that is not idle is closed, which ends its transaction
	known := make(map[key]prior, len(firsts))
	found := make([]bool, len(firsts))
	var b pgx.Batch
	b.Queue(beginSQL)
	if mutant.AsyncCommit {
		b.Queue(`SET LOCAL synchronous_commit = off`)
	}
	if !mutant.NoRoomLock {
		b.Queue(lockSQL, rooms(firsts))
	}
	b.Queue(acceptSQL, in.senders, in.ids, in.rooms, in.digests, in.times, in.shards, in.before, in.between, in.after).
		Query(func(rows pgx.Rows) error {
			var n int64
			var before bool
			var a prior
			var digest []byte
			_, err := pgx.ForEachRow(rows, []any{&n, &before, &a.room, &a.seq, &digest, &a.sentAt}, func() error {
				c := firsts[n-1]
				if before {
					p.caution.Warn()
				}
				a.sentAt = a.sentAt.UTC()
				copy(a.digest[:], digest)
				known[key{c.send.Sender, c.send.ID}] = a
				receipts[c.at] = judge(c, a, before)
				if !before {
					receipts[c.at].Event = in.event(int(n-1), a.seq)
				}
				found[n-1] = true
				return nil
			})
			return err
		})
	end := "ROLLBACK"
	if commit {
		end = "COMMIT"
	}
	b.Queue(end).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != end { // to the COMMIT of a transaction that had failed the server says ROLLBACK, and no error
			return errRolledBack
		}
		return nil
	})
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		if commit && isUnknown(err) {
			// The server may get, or be working on, the transaction now or later. A second Accept of the same sends
			// finds what it did, waits for it at the locks, or comes before it; then the first one finds duplicates.
			return nil, fmt.Errorf("accept: %w: %w", ErrUnknownOutcome, err)
		}
		rollback(ctx, conn)
		return nil, fmt.Errorf("accept: %w", err)
	}
	for i, c := range firsts {
		if !found[i] {
			left = append(left, c)
		}
	}
	for _, c := range repeated {
		if a, ok := known[key{c.send.Sender, c.send.ID}]; ok {
			receipts[c.at] = judge(c, a, true)
		} else {
			left = append(left, c)
		}
	}
	return left, nil
}

// split takes apart the first candidates of their keys and those that repeat one in the same batch.
func split(cs []candidate) (firsts, repeated []candidate) {
	seen := make(map[key]struct{}, len(cs))
	firsts = make([]candidate, 0, len(cs))
	for _, c := range cs {
		k := key{c.send.Sender, c.send.ID}
		if _, again := seen[k]; again {
			repeated = append(repeated, c)
			continue
		}
		seen[k] = struct{}{}
		firsts = append(firsts, c)
	}
	return firsts, repeated
}

// columns are the parameters of acceptSQL.
type columns struct {
	senders, ids, rooms             []string
	digests, before, between, after [][]byte
	times                           []time.Time
	shards                          []int16
}

func columnsOf(cs []candidate) (columns, error) {
	n := len(cs)
	in := columns{
		senders: make([]string, n), ids: make([]string, n), rooms: make([]string, n), digests: make([][]byte, n),
		before: make([][]byte, n), between: make([][]byte, n), after: make([][]byte, n),
		times: make([]time.Time, n), shards: make([]int16, n),
	}
	for i := range cs {
		s := &cs[i].send
		in.senders[i], in.ids[i], in.rooms[i], in.times[i] = s.Sender, s.ID, s.Room, s.SentAt
		in.digests[i], in.shards[i] = cs[i].digest[:], int16(events.Shard(s.Room))
		var err error
		if in.before[i], in.between[i], in.after[i], err = message(*s, 0).EncodeAround(""); err != nil {
			return in, fmt.Errorf("accept in %s: %w", s.Room, err)
		}
	}
	return in, nil
}

// event is what acceptSQL makes of a send as its payload.
func (in *columns) event(i int, seq int64) []byte {
	b := make([]byte, 0, len(in.before[i])+len(in.between[i])+len(in.after[i])+2*20)
	b = strconv.AppendInt(append(b, in.before[i]...), seq, 10)
	b = strconv.AppendInt(append(b, in.between[i]...), seq, 10)
	return append(b, in.after[i]...)
}

// errRolledBack: the server answered COMMIT with a rollback.
var errRolledBack = errors.New("the server rolled back")

// rollback ends the transaction, so that the connection can be used again. Where it fails, Release closes the connection.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() || conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "ROLLBACK")
}

// isUnknown sorts the errors of the round trip. Only two tell that nothing was committed: the
// server's own ERROR, which it answers to a statement, and an error from before anything was sent. FATAL and PANIC end
// the session and may come after the commit.
func isUnknown(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return cmp.Or(pg.SeverityUnlocalized, pg.Severity) != "ERROR"
	}
	return !pgconn.SafeToRetry(err) && !errors.Is(err, errRolledBack)
}

// isRace tells errors after which another try sees what another replica did: its duplicate (unique_violation), or a failed
// serialization, where the database's default level is above READ COMMITTED and the short statements have that; or, which
// the order of locks should rule out, a deadlock.
func isRace(err error) bool {
	switch sqlState(err) {
	case "23505", "40P01", "40001":
		return true
	}
	return false
}

// isBadRow tells errors that come from a row's content: data exceptions, failed checks, and an index entry too large.
func isBadRow(err error) bool {
	code := sqlState(err)
	return strings.HasPrefix(code, "22") || code == "23514" || code == "23502" || code != "" && db.IsTooLarge(err)
}

// sqlState is the code of an error that ended the statement and no more; of others, and of unknown outcomes, "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.Is(err, ErrUnknownOutcome) || !errors.As(err, &pg) {
		return ""
	}
	return pg.Code
}
