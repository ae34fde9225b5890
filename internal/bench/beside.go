//go:build unix

package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/migrations"
)

// withRows is an installation beside the own one, whose permanent tables hold so many rows: a database and queues of its
// own on the same servers, so that all sizes can be measured in turn. It runs until the scenario's end and is kept.
func (b *Bench) withRows(ctx context.Context, rows int, tell func(string)) (*installation, error) {
	if i := b.filled[rows]; i != nil {
		return i, i.start(ctx)
	}
	i, err := b.own.beside(ctx, fmt.Sprintf("rows_%d", rows))
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, i.close)
	if err := i.fillTables(ctx, rows, tell); err != nil {
		return nil, fmt.Errorf("fill the tables with %d rows: %w", rows, err)
	}
	b.filled[rows] = i
	return i, i.start(ctx)
}

// beside prepares another installation on the same servers, with empty tables, and starts nothing.
func (i *installation) beside(ctx context.Context, name string) (*installation, error) {
	o := &installation{cfg: i.cfg, postgres: i.postgres, broker: i.broker, shared: true}
	o.cfg.Dir = filepath.Join(i.cfg.Dir, name)
	if err := os.MkdirAll(o.cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	if i.postgres == nil {
		return o, o.embeddedProgram(ctx)
	}
	u, err := url.Parse(i.database)
	if err != nil {
		return nil, err
	}
	if err := inDatabase(ctx, i.database, func(conn *pgx.Conn) error {
		return inOrder(ctx, conn, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize())
	}); err != nil {
		return nil, fmt.Errorf("make the database %s: %w", name, err)
	}
	u.Path = "/" + name
	o.database = u.String()
	return o, o.splitPrograms(ctx, name+".")
}

// fillKeys is how many rooms, and how many senders, share the rows.
const fillKeys = 1000

// pastOf is how one table gets a past.
type pastOf struct {
	table, key string
	insert     string // of the rows from $1 up to $2, spread over $3 rooms and senders
}

// Ids look like the UUIDv7 that clients are told to make: in the order of time, with a random end.
var pasts = []pastOf{
	{"chatroom.accepted", "sender, id", `INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
		SELECT 'filler-' || n % $3, substr(t, 1, 8) || '-' || substr(t, 9) || '-7' || substr(h, 1, 3) || '-8' || substr(h, 4, 3) || '-' || substr(h, 7, 12),
			'filled-' || n % $3, n / $3 + 1, sha256(h::bytea), '2026-01-01'::timestamptz + n * interval '1 ms'
		FROM (SELECT n, md5(n::text) AS h, lpad(to_hex(1767225600000 + n), 12, '0') AS t FROM generate_series($1::bigint, $2::bigint - 1) AS n) AS m`},
	{"persister.messages", "room, seq", `INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
		SELECT 'filled-' || n % $3, n / $3 + 1, 'message', 'fill-' || n, 'filler-' || n % $3, repeat('x', 100), '2026-01-01'::timestamptz + n * interval '1 ms'
		FROM generate_series($1::bigint, $2::bigint - 1) AS n`},
}

// fillTables makes a past of so many messages, accepted and stored, 100 bytes each. The tables are filled side by side.
func (i *installation) fillTables(ctx context.Context, rows int, tell func(string)) error {
	if i.postgres == nil {
		return i.fillFiles(ctx, rows)
	}
	errs := make([]error, len(pasts))
	var wg sync.WaitGroup
	for n, past := range pasts {
		wg.Go(func() { errs[n] = past.fill(ctx, i.database, rows, tell) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return inDatabase(ctx, i.database, func(conn *pgx.Conn) error {
		return inOrder(ctx, conn,
			`INSERT INTO chatroom.rooms (room, head) SELECT room, max(seq) FROM persister.messages GROUP BY room`,
			`INSERT INTO persister.watermarks (room, seq) SELECT room, head FROM chatroom.rooms`,
			`VACUUM (ANALYZE) chatroom.rooms`, `CHECKPOINT`)
	})
}

// fill builds the key when the rows are there, which takes a fraction of the time.
func (p pastOf) fill(ctx context.Context, database string, rows int, tell func(string)) error {
	return inDatabase(ctx, database, func(conn *pgx.Conn) error {
		_, name, _ := strings.Cut(p.table, ".")
		if err := inOrder(ctx, conn, `SET synchronous_commit = off`, `SET maintenance_work_mem = '512MB'`,
			`ALTER TABLE `+p.table+` DROP CONSTRAINT `+name+`_pkey`); err != nil {
			return err
		}
		if err := inParts(rows, "filling "+p.table, tell, func(from, to int) error {
			_, err := conn.Exec(ctx, p.insert, from, to, fillKeys)
			return err
		}); err != nil {
			return err
		}
		tell("indexing " + p.table)
		return inOrder(ctx, conn, `ALTER TABLE `+p.table+` ADD PRIMARY KEY (`+p.key+`)`, `VACUUM (ANALYZE) `+p.table)
	})
}

func inDatabase(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(f(conn), conn.Close(context.WithoutCancel(ctx)))
}

func inOrder(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, q := range statements {
		if _, err := conn.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// fillFiles does the same for the embedded databases, room after room, since their tables are kept in the order of the key.
func (i *installation) fillFiles(ctx context.Context, rows int) error {
	if err := os.MkdirAll(i.data(), 0o700); err != nil {
		return err
	}
	each := max(1, rows/fillKeys)
	fill := func(service migrations.Service, table, heads string) error {
		file, err := migratedFile(ctx, filepath.Join(i.data(), string(service)+".db"), service)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		return i.inFile(ctx, service, func(tx *sql.Tx) error {
			for _, q := range []string{table, heads} {
				if _, err := tx.ExecContext(ctx, q, each, rows); err != nil {
					return err
				}
			}
			return nil
		})
	}
	const numbers = ` WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < ?2 - 1) `
	const heads = ` SELECT printf('filled-%07d', n / ?1), max(n % ?1) + 1 FROM s GROUP BY 1`
	return errors.Join(
		fill(migrations.Chatroom, `INSERT INTO accepted (sender, id, room, seq, digest, sent_at)`+numbers+
			`SELECT printf('filler-%07d', n / ?1), printf('01900000-0000-7000-8000-%012d', n), printf('filled-%07d', n / ?1), n % ?1 + 1, randomblob(32), n FROM s`,
			`INSERT INTO rooms (room, head)`+numbers+heads),
		fill(migrations.Persister, `INSERT INTO messages (room, seq, kind, id, sender, body, sent_at)`+numbers+
			`SELECT printf('filled-%07d', n / ?1), n % ?1 + 1, 'message', 'fill-' || n, printf('filler-%07d', n / ?1), printf('%0100d', n), n FROM s`,
			`INSERT INTO watermarks (room, seq)`+numbers+heads))
}
