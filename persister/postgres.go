package persister

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Postgres is the [Store] on PostgreSQL, schema persister. Reads and watermarks stand in postgres_read.go.
type Postgres struct {
	pool     *pgxpool.Pool
	inserted inserted
	caution  db.Caution
}

// NewPostgres makes a store on a pool whose database is migrated. The pool stays the caller's.
func NewPostgres(pool *pgxpool.Pool) *Postgres { return &Postgres{pool: pool} }

// One statement, one commit. insertNewSQL is refused as a whole where a row is there already, or where another transaction is
// just inserting it, which it waits for; insertSQL leaves such rows alone. For each row that costs the server a look into the
// index, and an insertion in two steps, each with its record in the log: half as much again.
//
// The arrays are unnested in the list of results: as a table the rows would be copied once more, a third of the server's
// time. The largest come first, since what holds them all while they are written then grows seldom.
var (
	insertNewSQL = `
INSERT INTO persister.messages (body, id, sender, room, kind, seq, sent_at)
SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[]), unnest($6::bigint[]), unnest($7::timestamptz[])`
	insertSQL = insertNewSQL + mutant.Text(!mutant.NoConflictClause, ` ON CONFLICT (room, seq) DO NOTHING`)
)

// storedSQL reads what is stored under the keys; n is the place in the arrays.
const storedSQL = `
SELECT t.n, m.kind, m.id, m.sender, m.body, m.sent_at
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS t (room, seq, n)
JOIN persister.messages m ON m.room = t.room AND m.seq = t.seq`

// Insert implements [Store].
func (p *Postgres) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	errs := make([]error, len(evs))
	if err := p.insert(ctx, evs, sortedValid(evs, errs), errs); err != nil {
		return nil, err
	}
	return errs, nil
}

// insert stores the events that idx names. When the database refuses the values of a row it says so for the whole
// statement, so the batch is halved until the bad row stands alone: some 2·log₂(n) statements for each bad row.
func (p *Postgres) insert(ctx context.Context, evs []events.MessageSent, idx []int, errs []error) error {
	if len(idx) == 0 {
		return nil
	}
	c := columnsOf(evs, idx)
	stored, err := p.insertColumns(ctx, c)
	switch {
	case err == nil && stored == len(idx):
		p.inserted.add(c.room, c.seq)
		return nil
	case err == nil:
		return p.compare(ctx, evs, idx, c, errs)
	case !refusesValues(err):
		p.inserted.forget()
		return fmt.Errorf("insert %d events: %w", len(idx), err)
	case len(idx) == 1:
		errs[idx[0]] = events.Permanent(fmt.Errorf("%w: %w", ErrBadEvent, redact(err)))
		return nil
	}
	half := len(idx) / 2
	if err := p.insert(ctx, evs, idx[:half], errs); err != nil {
		return err
	}
	return p.insert(ctx, evs, idx[half:], errs)
}

// insertColumns inserts those rows that are not there yet, and returns how many that were. Events are new as a rule.
func (p *Postgres) insertColumns(ctx context.Context, c columns) (int, error) {
	args := []any{c.body, c.id, c.sender, c.room, c.kind, c.seq, c.sentAt}
	if !p.caution.Warned() {
		_, err := p.pool.Exec(ctx, insertNewSQL, args...)
		if !isDuplicate(err) {
			return len(c.seq), err
		}
		p.caution.Warn()
	}
	tag, err := p.pool.Exec(ctx, insertSQL, args...)
	stored := int(tag.RowsAffected())
	if err == nil && stored < len(c.seq) {
		p.caution.Warn() // a refused insert leaves dead rows behind
	}
	return stored, err
}

// compare judges the events of an insert that left some rows out. It is a statement of its own, with a newer snapshot
// than the insert's, so it sees the rows that the insert waited for.
func (p *Postgres) compare(ctx context.Context, evs []events.MessageSent, idx []int, c columns, errs []error) error {
	rows, err := p.pool.Query(ctx, storedSQL, c.room, c.seq)
	if err != nil {
		return fmt.Errorf("compare %d events: %w", len(idx), err)
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var n int64
		var m events.MessageSent
		if err := rows.Scan(&n, &m.Kind, &m.ID, &m.From, &m.Text, &m.SentAt); err != nil {
			return fmt.Errorf("compare %d events: %w", len(idx), err)
		}
		i := idx[n-1]
		errs[i] = verdict(evs[i], m)
		found++
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("compare %d events: %w", len(idx), err)
	}
	if found != len(idx) {
		return fmt.Errorf("compare %d events: only %d are there", len(idx), found)
	}
	return nil
}

// columns are the arrays that a statement unnests.
type columns struct {
	room, kind, id, sender, body []string
	seq                          []int64
	sentAt                       []time.Time
}

func columnsOf(evs []events.MessageSent, idx []int) columns {
	n := len(idx)
	text := make([]string, 5*n)
	c := columns{
		room: text[:n:n], kind: text[n : 2*n : 2*n], id: text[2*n : 3*n : 3*n], sender: text[3*n : 4*n : 4*n], body: text[4*n:],
		seq: make([]int64, n), sentAt: make([]time.Time, n),
	}
	for to, from := range idx {
		e := evs[from]
		c.room[to], c.seq[to], c.kind[to], c.id[to] = e.Room, e.Seq, e.Kind, e.ID
		c.sender[to], c.body[to], c.sentAt[to] = e.From, e.Text, sentAt(e)
	}
	return c
}

// refusesValues tells whether the server refused what a row holds: data exception (22), integrity constraint violation
// (23), a row or its index entry too large. All else is an outage, also a missing table: that heals by a migration, and no message may
// be thrown away for it.
func refusesValues(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return false
	}
	class := pg.Code[:2]
	return class == "22" || class == "23" || db.IsTooLarge(err)
}

// isDuplicate tells whether the server refused a row because its key is there.
func isDuplicate(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// redact keeps of a refusal what holds no message text: the server's detail quotes values.
func redact(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("SQLSTATE %s, constraint %q", pg.Code, pg.ConstraintName)
	}
	return errors.New("refused")
}
