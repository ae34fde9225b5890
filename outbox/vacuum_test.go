package outbox_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// vacuumed removes so many rows as it is told, once, and notes when it is vacuumed.
type vacuumed struct {
	*outboxtest.Memory
	began time.Time
	took  time.Duration

	removes atomic.Int64
	fails   atomic.Pointer[error]
	at      chan time.Duration // since began
}

func (v *vacuumed) Remove(context.Context, map[string]int64) (int64, error) {
	return v.removes.Swap(0), nil
}

func (v *vacuumed) Vacuum(ctx context.Context) error {
	v.at <- time.Since(v.began)
	time.Sleep(v.took)
	if err := v.fails.Load(); err != nil {
		return *err
	}
	return v.Memory.Vacuum(ctx)
}

// The outbox is vacuumed when enough was removed, not sooner after a vacuum than in proportion to what it took, and not at once
// after one that failed.
func TestVacuumFollowsWhatWasRemoved(t *testing.T) {
	t.Parallel()
	v := &vacuumed{took: 3 * time.Second, at: make(chan time.Duration, 100)}
	tune := func(o *outbox.Options) {
		v.Memory = o.Store.(*outboxtest.Memory)
		v.began = time.Now()
		o.Store = v
	}
	virtual(t, tune, func(t *testing.T, _ *outboxtest.Memory, r *outbox.Relay) {
		remove := func(second int, rows int64) {
			time.Sleep(time.Duration(second)*time.Second + time.Second/2 - time.Since(v.began))
			v.removes.Store(rows)
			r.Stored(map[string]int64{"a": int64(second)})
		}
		remove(1, outbox.VacuumRows-1)
		remove(10, 1)                   // enough, which is seen at 11
		remove(12, 2*outbox.VacuumRows) // during that vacuum, which ends at 14; seen 12 s later
		remove(50, outbox.VacuumRows-1)
		away := errors.New("the database is away")
		v.fails.Store(&away)
		remove(60, 1) // seen at 61; fails at 64, and is tried again a minute later
		remove(70, outbox.VacuumRows)
		v.fails.Store(nil)
		remove(199, 0)
		v.fails.Store(&outbox.ErrMayNotVacuum)
		remove(200, outbox.VacuumRows) // seen at 201, and never more
		remove(300, outbox.VacuumRows)
		remove(400, 1)
		close(v.at)
		var at []time.Duration
		for d := range v.at {
			at = append(at, d/time.Second)
		}
		if diff := cmp.Diff([]time.Duration{11, 26, 61, 124, 201}, at); diff != "" {
			t.Errorf("vacuumed in seconds (-want +got):\n%s", diff)
		}
	})
}

// Rows that come and go in PostgreSQL use the same space again and again.
func TestPostgresUsesTheSpaceOfRemovedRows(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	mustExec(t, pool, `ALTER TABLE chatroom.outbox SET (autovacuum_enabled = off)`) // it would do the same, within a minute
	s := outbox.Postgres{Pool: pool}
	size := func() (bytes int64) {
		if err := pool.QueryRow(t.Context(), `SELECT pg_total_relation_size('chatroom.outbox')`).Scan(&bytes); err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	var first int64
	for turn := range 8 {
		mustExec(t, pool, `INSERT INTO chatroom.outbox (shard, key, seq, payload)
			SELECT 0, 'room', $1::bigint * 5000 + n, convert_to(repeat('x', 300), 'UTF8') FROM generate_series(1, 5000) AS n`, turn)
		if n, err := s.Remove(t.Context(), map[string]int64{"room": int64(turn+1) * 5000}); err != nil || n != 5000 {
			t.Fatalf("removed %d, %v", n, err)
		}
		if err := s.Vacuum(t.Context()); err != nil {
			t.Fatal(err)
		}
		if turn == 0 {
			first = size()
		}
	}
	if last := size(); last > 2*first {
		t.Errorf("the outbox has %d bytes after one turn and %d after eight, want at most twice as many", first, last)
	}
}

// Who finds somebody else about it leaves it to him.
func TestPostgresVacuumIsLeftToAnother(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	s := outbox.Postgres{Pool: pool}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE chatroom.outbox IN SHARE UPDATE EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Vacuum(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second { // the sessions' lock timeout is 5 s
		t.Errorf("waited %s for the other", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A role that may not vacuum is told so, and leaves no warning in the server's log each time.
func TestPostgresVacuumByAnotherRole(t *testing.T) {
	t.Parallel()
	pool, url := dbtest.Postgres(t)
	role := "gochat_test_" + strings.ToLower(rand.Text()[:10])
	mustExec(t, pool, `CREATE ROLE `+role)
	t.Cleanup(func() { // the database is dropped after that, with what was granted
		_, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Error(err)
		}
	})
	mustExec(t, pool, `GRANT USAGE ON SCHEMA chatroom TO `+role)
	mustExec(t, pool, `GRANT SELECT, INSERT, UPDATE, DELETE ON chatroom.outbox TO `+role)
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["role"] = role
	other, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := (outbox.Postgres{Pool: other}).Vacuum(t.Context()); !errors.Is(err, outbox.ErrMayNotVacuum) {
		t.Errorf("another role has %v, want %v", err, outbox.ErrMayNotVacuum)
	}
	mustExec(t, pool, `ALTER TABLE chatroom.outbox OWNER TO `+role)
	if err := (outbox.Postgres{Pool: other}).Vacuum(t.Context()); err != nil {
		t.Errorf("the owner has %v", err)
	}
	mustExec(t, pool, `ALTER TABLE chatroom.outbox OWNER TO current_user`)
}
