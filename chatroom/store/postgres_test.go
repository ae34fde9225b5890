package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// The suite runs with a tracer that counts deadlocks: Accept would try again after one, and hide that its order of locks
// is wrong.
func TestPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (a, b store.Store) {
		t.Helper()
		_, url := dbtest.Postgres(t)
		deadlocks := new(deadlockTracer)
		t.Cleanup(func() {
			if n := deadlocks.count.Load(); n != 0 {
				t.Errorf("%d deadlocks", n)
			}
		})
		traced := func() store.Store {
			pool, err := db.OpenPostgres(t.Context(), url, db.Options{MaxConns: 8, Tracer: deadlocks})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			return store.NewPostgres(pool)
		}
		return traced(), traced()
	})
}

type deadlockTracer struct{ count atomic.Int64 }

func (d *deadlockTracer) see(err error) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "40P01" {
		d.count.Add(1)
	}
}

func (d *deadlockTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (d *deadlockTracer) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	d.see(data.Err)
}

func (d *deadlockTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (d *deadlockTracer) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	d.see(data.Err)
}

func (d *deadlockTracer) TraceBatchEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	d.see(data.Err)
}

func sends(prefix string, n int) []store.Send {
	all := make([]store.Send, n)
	for i := range all {
		all[i] = store.Send{
			Sender: "ann", ID: fmt.Sprint(prefix, i), Room: fmt.Sprint("room", i%2), Text: fmt.Sprint("text ", i), SentAt: time.UnixMilli(1767366245678).UTC(),
		}
	}
	return all
}

// mustOnePool opens a pool through a proxy, and uses one connection once, so that all its statements are prepared and
// a round trip is a round trip.
func mustOnePool(t *testing.T) (*proxy, store.Store, *pgxpool.Pool) {
	t.Helper()
	direct, url := dbtest.Postgres(t)
	p, proxied := mustProxy(t, url)
	pool := dbtest.Pool(t, proxied) // hands out the connection that was used last
	s := store.NewPostgres(pool)
	if _, err := s.Accept(t.Context(), sends("warm up", 2)); err != nil {
		t.Fatal(err)
	}
	return p, s, direct
}

// mustEachOnce sees that both rooms hold the warm-up and the sends, densely, each once.
func mustEachOnce(t *testing.T, s store.Store, want int) {
	t.Helper()
	seen := map[string]bool{}
	for _, room := range []string{"room0", "room1"} {
		log, err := s.Tail(t.Context(), room, 0, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range log {
			if e.Seq != int64(i+1) || seen[e.ID] {
				t.Fatalf("%s: event %d is %+v, seen before: %v", room, i, e, seen[e.ID])
			}
			seen[e.ID] = true
		}
	}
	if len(seen) != want {
		t.Errorf("%d events are committed, want %d", len(seen), want)
	}
}

// The connection breaks in the middle of the transaction, before or after the server saw it. Either way the outcome is unknown, and
// the same sends again are each committed once, under the same seqs.
func TestUnknownCommitIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]int{"server never saw it": loseRequest, "server committed": loseAnswer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, s, _ := mustOnePool(t)
			batch := sends("", 10)
			c := p.breakTrip(1, how)
			_, err := s.Accept(t.Context(), batch)
			<-c.arrived
			if !errors.Is(err, store.ErrUnknownOutcome) {
				t.Fatalf("got %v, want ErrUnknownOutcome", err)
			}
			receipts, err := s.Accept(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range receipts {
				want := store.Receipt{Seq: int64(2 + i/2), SentAt: batch[i].SentAt, Duplicate: how == loseAnswer}
				if !r.Duplicate {
					storetest.CheckEvent(t, batch[i], &r)
				}
				if diff := cmp.Diff(want, r); diff != "" {
					t.Errorf("receipt %d (-want +got):\n%s", i, diff)
				}
			}
			mustEachOnce(t, s, 12)
		})
	}
}

// The transaction is still on its way when the client has given up on it, and tries again: the second try comes first,
// and the first one, when it arrives, finds that all is done.
func TestDelayedTransactionComesTooLate(t *testing.T) {
	t.Parallel()
	p, s, _ := mustOnePool(t)
	batch := sends("", 10)
	c := p.breakTrip(1, delay)
	if _, err := s.Accept(t.Context(), batch); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatalf("got %v, want ErrUnknownOutcome", err)
	}
	<-c.arrived
	receipts, err := s.Accept(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.Duplicate || r.Err != nil || r.Seq != int64(2+i/2) {
			t.Errorf("receipt %d: got %+v, want the new seq %d", i, r, 2+i/2)
		}
	}
	close(c.release)
	<-c.done
	mustEachOnce(t, s, 12)
}

// A database that is away is a plain error, as soon as that is known: nothing was committed. The first call may find a
// connection that was good a moment ago, and cannot tell.
func TestOutageCommitsNothing(t *testing.T) {
	t.Parallel()
	p, s, direct := mustOnePool(t)
	batch := sends("", 10)
	p.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.Accept(ctx, batch)
	if errors.Is(err, store.ErrUnknownOutcome) {
		_, err = s.Accept(ctx, batch)
	}
	if err == nil || errors.Is(err, store.ErrUnknownOutcome) || errors.Is(err, store.ErrBadRow) {
		t.Errorf("database away: got %v, want a plain error", err)
	}
	for name, call := range map[string]func() error{
		"Epoch":    func() error { _, err := s.Epoch(ctx); return err },
		"OpenRoom": func() error { _, err := s.OpenRoom(ctx, "new"); return err },
		"Heads":    func() error { _, err := s.Heads(ctx, []string{"room0"}); return err },
		"Tail":     func() error { _, err := s.Tail(ctx, "room0", 0, 0, 1); return err },
	} {
		if call() == nil {
			t.Errorf("database away: %s got no error", name)
		}
	}
	mustEachOnce(t, store.NewPostgres(direct), 2)
}

// A replica that hangs in its transaction holds a room for no longer than the lock timeout, and others say so plainly.
func TestLockedRoomIsPlainError(t *testing.T) {
	t.Parallel()
	direct, url := dbtest.Postgres(t)
	s := store.NewPostgres(dbtest.Pool(t, url+"&lock_timeout=50ms"))
	if _, err := s.Accept(t.Context(), sends("", 2)); err != nil {
		t.Fatal(err)
	}
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM chatroom.rooms FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Accept(t.Context(), sends("more", 2))
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "55P03" || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("got %v, want lock_not_available", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept(t.Context(), sends("more", 2)); err != nil {
		t.Errorf("after the other is gone: %v", err)
	}
	mustEachOnce(t, s, 4)
}

// What a receipt carries is what the relay would have fetched.
func TestEventOfAReceiptIsTheOutboxRow(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	receipts, err := store.NewPostgres(pool).Accept(t.Context(), sends("", 40))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		room := fmt.Sprint("room", i%2)
		var payload []byte
		if err := pool.QueryRow(t.Context(), `SELECT payload FROM chatroom.outbox WHERE key = $1 AND seq = $2`, room, r.Seq).Scan(&payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(payload, r.Event) {
			t.Errorf("%s/%d: got %s, want %s", room, r.Seq, r.Event, payload)
		}
	}
}

// A chat room that begins small does not read its tables through when they have grown: the statements are planned while the
// tables have one page, of which the server knows.
func TestPostgresLooksUpByIndex(t *testing.T) {
	t.Parallel()
	pool, url := dbtest.Postgres(t)
	p := store.NewPostgres(pool)
	accept := func(p *store.Postgres, n int) {
		t.Helper()
		sends := make([]store.Send, n)
		for i := range sends {
			sends[i] = store.Send{Room: "room", Sender: "ann", ID: rand.Text(), Text: "text", SentAt: time.Now()}
		}
		if _, err := p.Accept(t.Context(), sends); err != nil {
			t.Fatal(err)
		}
	}
	accept(p, 5)
	if _, err := pool.Exec(t.Context(), `VACUUM ANALYZE chatroom.accepted, chatroom.rooms, chatroom.outbox`); err != nil {
		t.Fatal(err)
	}
	const scans = `SELECT sum(seq_scan)::bigint, sum(idx_scan)::bigint FROM pg_stat_user_tables WHERE relname IN ('accepted', 'rooms')`
	var through, byIndex, throughBefore, byIndexBefore int64
	if err := pool.QueryRow(t.Context(), scans).Scan(&throughBefore, &byIndexBefore); err != nil {
		t.Fatal(err)
	}
	const rounds = 10               // from the sixth time on, a statement may keep its plan
	for _, n := range []int{1, 2} { // one has a statement of its own
		other := dbtest.Pool(t, url)
		for range rounds {
			accept(store.NewPostgres(other), n)
		}
		other.Close() // a session tells its counts at its end, at the latest
	}
	for deadline := time.Now().Add(30 * time.Second); through+byIndex < 2*2*rounds; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server counts %d looks into the tables, want %d", through+byIndex, 2*2*rounds)
		}
		if err := pool.QueryRow(t.Context(), scans).Scan(&through, &byIndex); err != nil {
			t.Fatal(err)
		}
		through, byIndex = through-throughBefore, byIndex-byIndexBefore
	}
	if through != 0 {
		t.Errorf("%d times a table was read through", through)
	}
}

// A database may have a stricter level as its default: then replicas that accept in one room fail each other's statements,
// and yet nothing is refused.
func TestPostgresUnderAnotherDefaultLevel(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			_, url := dbtest.Postgres(t)
			const replicas, each = 4, 150
			refused := make(chan error, replicas*each)
			var wg sync.WaitGroup
			for n := range replicas {
				cfg, err := pgxpool.ParseConfig(url)
				if err != nil {
					t.Fatal(err)
				}
				cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
				pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close()
				p := store.NewPostgres(pool)
				wg.Go(func() {
					for i := range each {
						s := store.Send{Room: "room", Sender: fmt.Sprint("replica", n), ID: fmt.Sprint(i), Text: "text", SentAt: time.Now()}
						if _, err := p.Accept(context.Background(), []store.Send{s}); err != nil {
							refused <- err
						}
					}
				})
			}
			wg.Wait()
			if n := len(refused); n > 0 {
				t.Errorf("%d of %d refused, the first: %v", n, replicas*each, <-refused)
			}
		})
	}
}
