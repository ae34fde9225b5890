package doctor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// An event is published and stored within a second when all is well; a restart of a service takes some.
const (
	waitWarn = 10 * time.Second
	waitFail = time.Minute
)

// outboxView looks at what the chat room accepted, in either database. It is set when the database was opened.
type outboxView struct {
	store outbox.Store
	facts facts
	whole outbox.Reconciliation // compares what was accepted with what is stored

	stopped bool // nobody works on a data folder, so what waits goes on waiting
}

// facts are what the outbox's own interface does not tell.
type facts interface {
	// oldest is the age of the oldest row, published or not; 0 without one.
	oldest(ctx context.Context) (time.Duration, error)
	// leases counts the shards that each live owner holds.
	leases(ctx context.Context) ([]lease, error)
	// epoch is that of the database, "" before its first chat room.
	epoch(ctx context.Context) (string, error)
}

type lease struct {
	owner  string
	shards int
}

// addOutbox adds what waits. The schemas come to OK when they can be read, running when somebody should be at work.
func (e *Examination) addOutbox(v *outboxView, chatroom, persister *check, running ...*check) {
	e.add(sectionMessages, "outbox", v.outbox, chatroom)
	e.add(sectionMessages, "storage lag", v.lag, chatroom)
	e.add(sectionMessages, "nothing missing", v.nothingMissing, chatroom, persister)
	e.add(sectionMessages, "relay leases", v.relays, append(running, chatroom)...)
}

func (v *outboxView) outbox(ctx context.Context) outcome {
	s, err := v.store.Stats(ctx)
	if err != nil {
		return failErr(err, "")
	}
	if s.Unpublished == 0 {
		return ok("nothing waits to be published")
	}
	return v.waiting(s.Unpublished, s.Oldest, "to be published", "a chat room relays them: is one running, and /readyz of its admin listener ready?")
}

func (v *outboxView) lag(ctx context.Context) outcome {
	s, err := v.store.Stats(ctx)
	if err != nil {
		return failErr(err, "")
	}
	if s.Unstored == 0 {
		return ok("nothing waits to be stored")
	}
	age, err := v.facts.oldest(ctx)
	if err != nil {
		return failErr(err, "")
	}
	return v.waiting(s.Unstored, age, "to be stored",
		"a persister stores them: is one running, and /readyz of its admin listener ready? what it refused is among the dead letters")
}

// compareWithin leaves the rest of a check's time for saying what was found by then.
const compareWithin = checkWithin - time.Second

// nothingMissing sees that all that was accepted is in the outbox or stored. In a large installation it does not come to
// the end, and says so.
func (v *outboxView) nothingMissing(ctx context.Context) outcome {
	bounded, cancel := context.WithTimeout(ctx, compareWithin)
	defer cancel()
	found, err := v.whole.Run(bounded)
	missing, foreign := slices.Concat(found.Lost, found.Holes), found.Beyond
	switch rooms := plural(int64(found.Keys), "room"); {
	case len(missing) > 0:
		return fail("restore the database of the persister from a backup, see \"Backups\" in docs/operations.md; gochat reconcile --dry-run names all that is missing",
			"accepted, and neither in the outbox nor stored: %s", firstSpans(missing))
	case len(foreign) > 0:
		return fail("was the database restored from an older copy, or does somebody else publish? see \"Who may publish\" in docs/operations.md",
			"stored, and never accepted here: %s", firstSpans(foreign))
	case err != nil && bounded.Err() != nil && ctx.Err() == nil:
		return warn("gochat reconcile --dry-run compares all", "only %s compared in the time of a check, where nothing is missing", rooms)
	case err != nil:
		return failErr(err, "")
	case found.Uncounted > 0:
		return ok("%s compared; the stored rows of %d were too many to count for holes: gochat reconcile --dry-run --deep does", rooms, found.Uncounted)
	default:
		return ok("%s compared, and every stored row counted", rooms)
	}
}

// firstSpans names the first of the spans.
func firstSpans(spans []outbox.Span) string {
	const most = 3
	var sum int64
	var names []string
	for i, s := range spans {
		sum += s.To - s.From + 1
		switch {
		case i >= most:
		case s.From == s.To:
			names = append(names, fmt.Sprintf("%s #%d", oneLine(s.Key), s.From))
		default:
			names = append(names, fmt.Sprintf("%s #%d to #%d", oneLine(s.Key), s.From, s.To))
		}
	}
	text := fmt.Sprintf("%s, %s", plural(sum, "event"), strings.Join(names, ", "))
	if len(spans) > most {
		text += " and more"
	}
	return text
}

// waiting is that of the package, but that nobody has the files is no fault.
func (v *outboxView) waiting(n int64, age time.Duration, what, remedy string) outcome {
	got := waiting(n, age, what, remedy)
	if v.stopped {
		return warn("start gochat up: it goes on with them", "%s", got.detail)
	}
	return got
}

// waiting judges n messages of which the oldest has the age.
func waiting(n int64, age time.Duration, what, remedy string) outcome {
	verb := "wait"
	if n == 1 {
		verb = "waits"
	}
	text := fmt.Sprintf("%s %s %s, the oldest for %s", plural(n, "message"), verb, what, short(age))
	switch {
	case age > waitFail:
		return fail(remedy, "%s", text)
	case age > waitWarn:
		return warn(remedy, "%s", text)
	}
	return ok("%s", text)
}

func (v *outboxView) relays(ctx context.Context) outcome {
	held, err := v.facts.leases(ctx)
	if err != nil {
		return failErr(err, "")
	}
	sum := 0
	names := make([]string, len(held))
	for i, l := range held {
		sum += l.shards
		names[i] = fmt.Sprintf("%s %d", oneLine(l.owner), l.shards)
	}
	switch {
	case sum == 0:
		return fail("start a chat room: gochat chatroom", "no chat room relays what is accepted")
	case sum < events.Shards:
		return warn("look again in some seconds: chat rooms share free shards out", "%d of %d shards are relayed: %s", sum, events.Shards, strings.Join(names, ", "))
	}
	return ok("all %d shards are relayed: %s", events.Shards, strings.Join(names, ", "))
}

// postgresFacts reads the schema of the chat room in PostgreSQL.
type postgresFacts struct{ pool *pgxpool.Pool }

func (f postgresFacts) oldest(ctx context.Context) (time.Duration, error) {
	var age time.Duration
	err := f.pool.QueryRow(ctx, `SELECT coalesce(clock_timestamp() - min(created_at), '0') FROM chatroom.outbox`).Scan(&age)
	if err != nil {
		return 0, fmt.Errorf("read the oldest row of the outbox: %w", err)
	}
	return age, nil
}

func (f postgresFacts) leases(ctx context.Context) ([]lease, error) {
	rows, err := f.pool.Query(ctx, `SELECT owner, count(*) FROM chatroom.outbox_leases
		WHERE shard < $1 AND expires_at > clock_timestamp() GROUP BY owner ORDER BY owner`, events.Shards)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	held, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (l lease, err error) {
		return l, r.Scan(&l.owner, &l.shards)
	})
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return held, nil
}

func (f postgresFacts) epoch(ctx context.Context) (epoch string, err error) {
	err = f.pool.QueryRow(ctx, `SELECT value FROM chatroom.meta WHERE key = 'epoch'`).Scan(&epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}

// sqliteFacts reads the chat room's file.
type sqliteFacts struct{ file *sql.DB }

const sqliteNow = `CAST(unixepoch('subsec') * 1000000 AS INTEGER)` // microseconds

func (f sqliteFacts) oldest(ctx context.Context) (time.Duration, error) {
	var micros int64
	err := f.file.QueryRowContext(ctx, `SELECT coalesce(`+sqliteNow+` - min(created_at), 0) FROM outbox`).Scan(&micros)
	if err != nil {
		return 0, fmt.Errorf("read the oldest row of the outbox: %w", err)
	}
	return max(0, time.Duration(micros)*time.Microsecond), nil
}

func (f sqliteFacts) leases(ctx context.Context) (held []lease, err error) {
	rows, err := f.file.QueryContext(ctx, `SELECT owner, count(*) FROM outbox_leases
		WHERE shard < ? AND expires_at > `+sqliteNow+` GROUP BY owner ORDER BY owner`, events.Shards)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var l lease
		if err := rows.Scan(&l.owner, &l.shards); err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		held = append(held, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return slices.Clip(held), nil
}

func (f sqliteFacts) epoch(ctx context.Context) (epoch string, err error) {
	err = f.file.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'epoch'`).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}
