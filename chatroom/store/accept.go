package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// The statements of the accepting transaction.
const (
	// beginSQL names the level: each statement sees what was committed when it began, whatever the server's default is.
	beginSQL = `BEGIN ISOLATION LEVEL READ COMMITTED`

	// lockSQL sorts below the locking, so the rooms are locked in the order of their names. A row that had to be waited
	// for comes back as its last writer left it.
	lockSQL = `SELECT room, head FROM chatroom.rooms WHERE room = ANY($1::text[]) ORDER BY room FOR UPDATE`

	// knownSQL must be a statement after lockSQL: a statement keeps the snapshot of its beginning while it waits for a
	// lock, so that it would miss a duplicate which committed meanwhile, and the unique key would fail the whole batch.
	// The LIMIT keeps the planner from anything but a look-up in the index for each key, however little it knows of the
	// table.
	knownSQL = `
SELECT k.n, a.room, a.seq, a.digest, a.sent_at
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(sender, id, n)
JOIN LATERAL (SELECT * FROM chatroom.accepted WHERE sender = k.sender AND id = k.id LIMIT 1) AS a ON true`

	// insertSQL inserts in the order of the keys, against deadlocks with a replica that accepts the same keys for other
	// rooms.
	insertSQL = `
INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::timestamptz[])
    AS a(sender, id, room, seq, digest, sent_at)
ORDER BY a.sender COLLATE "C", a.id COLLATE "C"`

	headsSQL = `
UPDATE chatroom.rooms AS r SET head = h.head
FROM unnest($1::text[], $2::bigint[]) AS h(room, head) WHERE r.room = h.room`
)

// errMissingRoom: a room of the batch does not exist. It is made in a transaction of its own, since an insert between two
// locks would take its lock out of order.
var errMissingRoom = errors.New("a room is missing")

// attempt runs one accepting transaction; without commit it is rolled back at the end. It fills in the receipts, which
// mean something only with a nil error.
func (p *Postgres) attempt(ctx context.Context, cs []candidate, receipts []Receipt, commit bool) error {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	defer conn.Release() // a connection that is not idle is closed, which ends its transaction
	heads, known, err := look(ctx, conn, cs)
	if err != nil {
		rollback(ctx, conn)
		return fmt.Errorf("accept: lock rooms: %w", err)
	}
	pl, err := decide(cs, heads, known, receipts)
	if err != nil || len(pl.fresh) == 0 {
		rollback(ctx, conn)
		return err
	}
	if err := write(ctx, conn, pl, commit); err != nil {
		if commit && isUnknown(err) {
			// Closing the connection is all that can be done. The server may get, or be working on, the COMMIT now or
			// later. Until it has decided it holds the locks on the rooms, so a second Accept of the same sends waits
			// for that decision and then sees it.
			return fmt.Errorf("accept: %w: %w", ErrUnknownOutcome, err)
		}
		rollback(ctx, conn)
		return fmt.Errorf("accept: %w", err)
	}
	if !commit {
		rollback(ctx, conn)
	}
	return nil
}

// look is the first round trip: it begins, locks the rooms and finds the sends that were accepted before.
func look(ctx context.Context, conn *pgxpool.Conn, cs []candidate) (map[string]int64, map[key]prior, error) {
	names := rooms(cs)
	senders, ids := make([]string, len(cs)), make([]string, len(cs))
	for i, c := range cs {
		senders[i], ids[i] = c.send.Sender, c.send.ID
	}
	heads, known := map[string]int64{}, map[key]prior{}
	var b pgx.Batch
	b.Queue(beginSQL)
	b.Queue(lockSQL, names).Query(func(rows pgx.Rows) (err error) {
		heads, err = scanHeads(rows)
		return err
	})
	b.Queue(knownSQL, senders, ids).Query(func(rows pgx.Rows) error {
		var n int64
		var a prior
		var digest []byte
		_, err := pgx.ForEachRow(rows, []any{&n, &a.room, &a.seq, &digest, &a.sentAt}, func() error {
			a.sentAt = a.sentAt.UTC()
			copy(a.digest[:], digest)
			known[key{senders[n-1], ids[n-1]}] = a
			return nil
		})
		return err
	})
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return nil, nil, err
	}
	if len(heads) < len(names) {
		return nil, nil, errMissingRoom
	}
	return heads, known, nil
}

// write is the second round trip: all inserts, and with commit the COMMIT, sent together. After an error of a statement
// the server skips the rest, the COMMIT too.
func write(ctx context.Context, conn *pgxpool.Conn, pl plan, commit bool) error {
	n := len(pl.fresh)
	senders, ids, names := make([]string, n), make([]string, n), make([]string, n)
	seqs, digests, times := make([]int64, n), make([][]byte, n), make([]time.Time, n)
	for i := range pl.fresh {
		a := &pl.fresh[i]
		senders[i], ids[i], names[i], seqs[i], digests[i], times[i] = a.sender, a.id, a.room, a.seq, a.digest[:], a.sentAt
	}
	moved, heads := make([]string, 0, len(pl.heads)), make([]int64, 0, len(pl.heads))
	for room, head := range pl.heads {
		moved, heads = append(moved, room), append(heads, head)
	}
	var b pgx.Batch
	b.Queue(insertSQL, senders, ids, names, seqs, digests, times)
	outbox.QueueAppend(&b, pl.rows)
	b.Queue(headsSQL, moved, heads)
	if commit {
		b.Queue(`COMMIT`).Exec(func(tag pgconn.CommandTag) error {
			if tag.String() != "COMMIT" { // of a transaction that had failed the server says ROLLBACK, and no error
				return errRolledBack
			}
			return nil
		})
	}
	return conn.SendBatch(ctx, &b).Close()
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

// isUnknown sorts the errors of the round trip that carries the COMMIT. Only two tell that nothing was committed: the
// server's own ERROR, which it answers to a statement, and an error from before anything was sent. FATAL and PANIC end
// the session and may come after the commit.
func isUnknown(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return cmp.Or(pg.SeverityUnlocalized, pg.Severity) != "ERROR"
	}
	return !pgconn.SafeToRetry(err) && !errors.Is(err, errRolledBack)
}

// isRace tells errors after which another try sees what another replica did: its duplicate (unique_violation), or, which
// the order of locks should rule out, a deadlock or a failed serialization.
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
	return strings.HasPrefix(code, "22") || code == "23514" || code == "23502" || code == "54000"
}

// sqlState is the code of an error that ended the statement and no more; of others, and of unknown outcomes, "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.Is(err, ErrUnknownOutcome) || !errors.As(err, &pg) {
		return ""
	}
	return pg.Code
}
