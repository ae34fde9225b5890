package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
)

// Postgres is the [Store] in the schema "chatroom" of a PostgreSQL database, which any number of chat rooms may share.
type Postgres struct {
	pool    *pgxpool.Pool
	rooms   knownRooms
	caution db.Caution
}

var _ Store = (*Postgres)(nil)

// NewPostgres uses a pool as db.OpenPostgres makes it: with a lock timeout, and with a bound on idling in a transaction,
// so that a replica that hangs holds no room for long. The schema must be there.
func NewPostgres(pool *pgxpool.Pool) *Postgres { return &Postgres{pool: pool} }

// Epoch implements [Store].
func (p *Postgres) Epoch(ctx context.Context) (string, error) {
	const query = `SELECT value FROM chatroom.meta WHERE key = 'epoch'`
	var epoch string
	err := p.pool.QueryRow(ctx, query).Scan(&epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		// Of several replicas that start together, one makes it and all read that one.
		const insert = `INSERT INTO chatroom.meta (key, value) VALUES ('epoch', $1) ON CONFLICT DO NOTHING`
		if _, err = p.pool.Exec(ctx, insert, newEpoch()); err == nil {
			err = p.pool.QueryRow(ctx, query).Scan(&epoch)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read epoch: %w", err)
	}
	return epoch, nil
}

func newEpoch() string { return rand.Text()[:16] }

// OpenRoom implements [Store].
func (p *Postgres) OpenRoom(ctx context.Context, room string) (int64, error) {
	heads, err := p.Heads(ctx, []string{room})
	if err != nil {
		return 0, err
	}
	if head, ok := heads[room]; ok {
		return head, nil
	}
	if err := p.openRooms(ctx, []string{room}); err != nil {
		return 0, err
	}
	heads, err = p.Heads(ctx, []string{room}) // another replica may have been first, and gone on
	return heads[room], err
}

// createRooms makes those of the rooms that are missing, in a transaction of its own. names must be sorted: two calls that
// insert the same missing rooms wait for each other in that order.
func (p *Postgres) createRooms(ctx context.Context, names []string) error {
	const insert = `INSERT INTO chatroom.rooms (room) SELECT r FROM unnest($1::text[]) AS r ON CONFLICT DO NOTHING`
	if _, err := p.pool.Exec(ctx, insert, names); err != nil {
		if isBadRow(err) {
			return fmt.Errorf("create %d rooms: %w: %w", len(names), ErrBadRow, err)
		}
		return fmt.Errorf("create %d rooms: %w", len(names), err)
	}
	return nil
}

// Heads implements [Store].
func (p *Postgres) Heads(ctx context.Context, names []string) (map[string]int64, error) {
	const query = `SELECT room, head FROM chatroom.rooms WHERE room = ANY($1::text[])`
	rows, err := p.pool.Query(ctx, query, names)
	if err != nil {
		return nil, fmt.Errorf("read heads: %w", err)
	}
	heads, err := scanHeads(rows)
	if err != nil {
		return nil, fmt.Errorf("read heads: %w", err)
	}
	return heads, nil
}

func scanHeads(rows pgx.Rows) (map[string]int64, error) {
	heads := map[string]int64{}
	var room string
	var head int64
	_, err := pgx.ForEachRow(rows, []any{&room, &head}, func() error {
		heads[room] = head
		return nil
	})
	return heads, err
}

// Tail implements [Store].
func (p *Postgres) Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	const (
		first = `SELECT payload FROM chatroom.outbox WHERE key = $1 AND seq > $2 ORDER BY seq LIMIT $3`
		last  = `SELECT payload FROM chatroom.outbox WHERE key = $1 AND seq > $2 AND seq < $4 ORDER BY seq DESC LIMIT $3`
	)
	query, args := first, []any{room, after, max(limit, 0)}
	if before != 0 {
		query, args = last, append(args, before)
	}
	rows, err := p.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read outbox of %s: %w", room, err)
	}
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("read outbox of %s: %w", room, err)
	}
	if before != 0 {
		slices.Reverse(payloads)
	}
	return decodeTail(room, payloads)
}

// maxTries bounds the tries of one Accept. Each try that fails on a race has seen another replica's commit, so the second
// one decides it as a rule.
const maxTries = 20

// Accept implements [Store].
//
// One round trip as a rule; two where sends that were taken for new are not. The order of locks makes it free of deadlocks: all rooms of the batch first, in the order of their
// names; then, while inserting, the idempotency keys in their order. Whoever waits for a room holds only lower rooms;
// whoever waits for a key has all its rooms. No circle can form.
func (p *Postgres) Accept(ctx context.Context, sends []Send) ([]Receipt, error) {
	receipts := make([]Receipt, len(sends))
	cs := candidates(sends, receipts)
	var committed bool
	var err error
	for try := 0; len(cs) > 0; try++ {
		if try == maxTries {
			err = fmt.Errorf("%d tries: %w", maxTries, cmp.Or(err, errors.New("no progress")))
			break
		}
		if err = p.openRooms(ctx, rooms(cs)); err == nil {
			var left []candidate
			if left, err = p.attempt(ctx, cs, receipts, true); err == nil {
				committed = committed || len(left) < len(cs)
				if cs = left; len(cs) > 0 { // their rooms are gone: somebody changed the tables
					p.rooms.forget()
				}
				continue
			}
		}
		if isBadRow(err) {
			var good []candidate
			if good, err = p.dropBad(ctx, cs, receipts); err == nil {
				cs = good
			}
		}
		if err != nil && !isRace(err) {
			break
		}
	}
	switch {
	case err == nil:
		return receipts, nil
	case committed: // a part is; only another try with the same sends can tell
		return nil, fmt.Errorf("accept %d messages: %w: %w", len(sends), ErrUnknownOutcome, err)
	}
	return nil, fmt.Errorf("accept %d messages: %w", len(sends), err)
}

// openRooms makes those rooms that are not known to exist, in a transaction of its own, since an insert between two
// locks would take its lock out of order. names must be sorted.
func (p *Postgres) openRooms(ctx context.Context, names []string) error {
	unknown := p.rooms.unknown(names)
	if len(unknown) == 0 {
		return nil
	}
	if err := p.createRooms(ctx, unknown); err != nil {
		return err
	}
	p.rooms.add(unknown)
	return nil
}

// knownRooms remembers rooms that exist; a room is never removed. It forgets all when it grows large.
type knownRooms struct {
	mu    sync.Mutex
	names map[string]struct{} // guarded by mu
}

const maxKnownRooms = 100_000

func (k *knownRooms) unknown(names []string) (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range names {
		if _, ok := k.names[n]; !ok {
			out = append(out, n)
		}
	}
	return out
}

func (k *knownRooms) add(names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.names == nil || len(k.names) > maxKnownRooms {
		k.names = make(map[string]struct{})
	}
	for _, n := range names {
		k.names[n] = struct{}{}
	}
}

func (k *knownRooms) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names = nil
}

// dropBad finds the candidates that the database refuses, by halving, and returns the others. Its tries are rolled back,
// so that the good ones still go in one transaction.
func (p *Postgres) dropBad(ctx context.Context, cs []candidate, receipts []Receipt) ([]candidate, error) {
	scratch := make([]Receipt, len(receipts))
	err := p.createRooms(ctx, rooms(cs))
	for try := 0; err == nil && try < maxTries; try++ {
		if _, err = p.attempt(ctx, cs, scratch, false); isRace(err) {
			err = nil
			continue
		}
		break
	}
	switch {
	case err == nil:
		return cs, nil
	case !isBadRow(err):
		return nil, err
	case len(cs) == 1:
		receipts[cs[0].at] = Receipt{Err: fmt.Errorf("%w: %w", ErrBadRow, err)}
		return nil, nil
	}
	left, err := p.dropBad(ctx, cs[:len(cs)/2], receipts)
	if err != nil {
		return nil, err
	}
	right, err := p.dropBad(ctx, cs[len(cs)/2:], receipts)
	if err != nil {
		return nil, err
	}
	return slices.Concat(left, right), nil
}

// rollbackTimeout bounds a rollback, which goes on when the caller has given up.
const rollbackTimeout = 2 * time.Second
