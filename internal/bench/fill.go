//go:build unix

package bench

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// rowsAtOnce go into the outbox in one transaction.
const rowsAtOnce = 1000

// filledAtOnce are the rows of a long past that one statement makes.
const filledAtOnce = 500_000

// inParts calls part for the numbers up to n, each from one up to another.
func inParts(n int, what string, tell func(string), part func(from, to int) error) error {
	for from := 0; from < n; from += filledAtOnce {
		tell(fmt.Sprintf("%s: %s of %s rows", what, report.Number(float64(from)), report.Number(float64(n))))
		if err := part(from, min(from+filledAtOnce, n)); err != nil {
			return err
		}
	}
	return nil
}

// fillRoom makes a room with a history, as if all of it were stored long ago. A room that is there already stays.
func (i *installation) fillRoom(ctx context.Context, room string, n int, tell func(string)) error {
	if i.postgres != nil {
		if err := i.fillRoomPostgres(ctx, room, n, tell); err != nil {
			return fmt.Errorf("fill %s: %w", room, err)
		}
		return nil
	}
	return i.stopped(ctx, func() error {
		return errors.Join(
			i.inFile(ctx, migrations.Persister, func(tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO messages (room, seq, kind, id, sender, body, sent_at)
					WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?2)
					SELECT ?1, n, 'message', 'fill-' || n, 'filler', printf('%0100d', n), 0 FROM s`, room, n); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO watermarks (room, seq) VALUES (?1, ?2)`, room, n)
				return err
			}),
			i.inFile(ctx, migrations.Chatroom, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO rooms (room, head) VALUES (?1, ?2)`, room, n)
				return err
			}))
	})
}

func (i *installation) fillRoomPostgres(ctx context.Context, room string, n int, tell func(string)) error {
	return inDatabase(ctx, i.database, func(conn *pgx.Conn) error {
		var there bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM persister.watermarks WHERE room = $1)`, room).Scan(&there); err != nil || there {
			return err
		}
		if err := inParts(n, "filling "+room, tell, func(from, to int) error {
			_, err := conn.Exec(ctx, `INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
				SELECT $1, s, 'message', 'fill-' || s, 'filler', repeat('x', 100), now() FROM generate_series($2::bigint + 1, $3::bigint) AS s`, room, from, to)
			return err
		}); err != nil {
			return err
		}
		for _, q := range []string{`INSERT INTO persister.watermarks (room, seq) VALUES ($1, $2)`, `INSERT INTO chatroom.rooms (room, head) VALUES ($1, $2)`} {
			if _, err := conn.Exec(ctx, q, room, n); err != nil {
				return err
			}
		}
		return inOrder(ctx, conn, `ANALYZE persister.messages`)
	})
}

// stopped does something while the embedded chat room is down, whose files have one owner at a time.
func (i *installation) stopped(ctx context.Context, f func() error) error {
	if err := i.stopChat(ctx); err != nil {
		return err
	}
	return errors.Join(f(), i.startChat(ctx))
}

func (i *installation) inFile(ctx context.Context, service migrations.Service, f func(*sql.Tx) error) error {
	file, err := db.OpenSQLite(ctx, filepath.Join(i.data(), string(service)+".db"))
	if err != nil {
		return err
	}
	return errors.Join(db.InTx(ctx, file.Writer, f), file.Close())
}

// migratedFile opens a SQLite file, made when missing, with a service's tables.
func migratedFile(ctx context.Context, path string, service migrations.Service) (*db.SQLite, error) {
	file, err := db.OpenSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	m, err := migrations.SQLite(file.Writer, service)
	if err == nil {
		_, err = m.Up(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// fillOutbox accepts rows without a chat room: each of the rooms has the given number of events, none published.
func (i *installation) fillOutbox(ctx context.Context, room func(int) string, rooms, each, text int, tell func(string)) error {
	write, done, err := i.outboxWriter(ctx)
	if err != nil {
		return fmt.Errorf("fill the outbox: %w", err)
	}
	var rows []sentRow
	for r := range rooms {
		for seq := 1; seq <= each; seq++ {
			row, err := newSentRow(room(r), fmt.Sprintf("drain-%d", seq), "filler-"+room(r), int64(seq), strings.Repeat("x", text))
			if err != nil {
				return errors.Join(err, done())
			}
			if rows = append(rows, row); len(rows) == rowsAtOnce || r == rooms-1 && seq == each {
				if err := write(rows); err != nil {
					return errors.Join(fmt.Errorf("fill the outbox: %w", err), done())
				}
				rows = rows[:0]
				tell(fmt.Sprintf("putting rows into the outbox: %d of %d", r*each+seq, rooms*each))
			}
		}
	}
	return done()
}

// watchedOutbox counts the rows of the outbox, over a connection that done closes.
func (i *installation) watchedOutbox(ctx context.Context) (w watched, done func(), err error) {
	conn, err := pgx.Connect(ctx, i.database)
	if err != nil {
		return w, nil, fmt.Errorf("look into the outbox: %w", err)
	}
	look := func(ctx context.Context) (float64, bool) {
		var n int64
		err := conn.QueryRow(ctx, `SELECT count(*) FROM chatroom.outbox`).Scan(&n)
		return float64(n), err == nil
	}
	return watched{outboxRows, "rows", look}, func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
}

func (i *installation) outboxWriter(ctx context.Context) (write func([]sentRow) error, done func() error, err error) {
	if i.postgres != nil {
		conn, err := pgx.Connect(ctx, i.database)
		if err != nil {
			return nil, nil, err
		}
		return func(rows []sentRow) error { return insertPostgres(ctx, conn, rows) },
			func() error { return conn.Close(context.WithoutCancel(ctx)) }, nil
	}
	file, err := db.OpenSQLite(ctx, filepath.Join(i.data(), string(migrations.Chatroom)+".db"))
	if err != nil {
		return nil, nil, err
	}
	return func(rows []sentRow) error { return insertSQLite(ctx, file.Writer, rows) }, file.Close, nil
}

// sentRow is what accepting writes for one message.
type sentRow struct {
	sender, id string
	digest     [sha256.Size]byte
	at         time.Time
	outbox.Row
}

func newSentRow(room, id, sender string, seq int64, text string) (sentRow, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := events.MessageSent{Room: room, Seq: seq, Kind: events.KindMessage, ID: id, From: sender, Text: text, SentAt: now}
	payload, err := m.Encode("")
	return sentRow{
		sender: sender, id: id, digest: sha256.Sum256([]byte(text)), at: now,
		Row: outbox.Row{Shard: events.Shard(room), Key: room, Seq: seq, Payload: payload},
	}, err
}

// insertPostgres writes in one transaction and one round trip what accepting the messages would, and nothing is asked.
func insertPostgres(ctx context.Context, conn *pgx.Conn, rows []sentRow) error {
	n := len(rows)
	senders, ids, rooms := make([]string, n), make([]string, n), make([]string, n)
	seqs, digests, times, out := make([]int64, n), make([][]byte, n), make([]time.Time, n), make([]outbox.Row, n)
	heads := make(map[string]int64)
	for i, r := range rows {
		senders[i], ids[i], rooms[i], seqs[i], digests[i], times[i], out[i] = r.sender, r.id, r.Key, r.Seq, r.digest[:], r.at, r.Row
		heads[r.Key] = max(heads[r.Key], r.Seq)
	}
	var names []string
	var tops []int64
	for name, head := range heads {
		names, tops = append(names, name), append(tops, head)
	}
	var batch pgx.Batch
	batch.Queue(`BEGIN`)
	batch.Queue(`INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::timestamptz[])`,
		senders, ids, rooms, seqs, digests, times)
	outbox.QueueAppend(&batch, out)
	batch.Queue(`INSERT INTO chatroom.rooms AS r (room, head) SELECT * FROM unnest($1::text[], $2::bigint[])
		ON CONFLICT (room) DO UPDATE SET head = excluded.head`, names, tops)
	batch.Queue(`COMMIT`)
	return conn.SendBatch(ctx, &batch).Close()
}

// insertSQLite does the same in a chat room's file.
func insertSQLite(ctx context.Context, file *sql.DB, rows []sentRow) error {
	return db.InTx(ctx, file, func(tx *sql.Tx) error {
		accepted, err := tx.PrepareContext(ctx, `INSERT INTO accepted (sender, id, room, seq, digest, sent_at) VALUES (?, ?, ?, ?, ?, ?)`)
		if err != nil {
			return err
		}
		defer func() { _ = accepted.Close() }() // the transaction's outcome is decided by its commit
		heads, err := tx.PrepareContext(ctx, `INSERT INTO rooms (room, head) VALUES (?, ?) ON CONFLICT (room) DO UPDATE SET head = excluded.head`)
		if err != nil {
			return err
		}
		defer func() { _ = heads.Close() }()
		out := make([]outbox.Row, len(rows))
		last := make(map[string]int64)
		for i, r := range rows {
			if _, err := accepted.ExecContext(ctx, r.sender, r.id, r.Key, r.Seq, r.digest[:], r.at.UnixMicro()); err != nil {
				return err
			}
			out[i], last[r.Key] = r.Row, max(last[r.Key], r.Seq)
		}
		for room, head := range last {
			if _, err := heads.ExecContext(ctx, room, head); err != nil {
				return err
			}
		}
		return outbox.AppendSQLite(ctx, tx, out)
	})
}
