package persister_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// crashing is a store whose process dies at a chosen moment of an insert: the caller gets no verdict.
type crashing struct {
	persister.Store
	before, after bool
}

func (c *crashing) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	crash := errors.New("crash")
	if c.before {
		return nil, crash
	}
	errs, err := c.Store.Insert(ctx, evs)
	if c.after {
		return nil, crash
	}
	return errs, err
}

// An event is acknowledged only after its commit; what was committed but not acknowledged comes again, and is there once.
func TestAcknowledgedMeansCommitted(t *testing.T) {
	t.Parallel()
	for name, fresh := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t)
			s := &crashing{Store: db.Open(t)}
			reader := db.Open(t)
			p := persister.New(persister.Options{Store: s, Announce: nothing, Logger: quiet()})
			stop := running(t, p)
			raw := encoded(t, storetest.Events("ops", 1, 30))
			mustFail := func(raw [][]byte, head int64) {
				for _, err := range p.Handle(t.Context(), raw) {
					if err == nil || events.IsPermanent(err) {
						t.Errorf("crash answered with %v, want an error to try again", err)
					}
				}
				stored(t, reader, "ops", head)
			}
			s.before = true
			mustFail(raw[:10], 0)
			s.before, s.after = false, true
			mustFail(raw[:20], 20) // committed, not acknowledged
			s.after = false
			for i := range raw { // redelivered, one by one: each is visible to others as soon as it is answered
				if err := errors.Join(p.Handle(t.Context(), raw[i:i+1])...); err != nil {
					t.Fatal(err)
				}
				stored(t, reader, "ops", max(20, int64(i+1)))
			}
			stop()
			stored(t, reader, "ops", 30)
		})
	}
}

// Two persisters on one database take the odd and the even seqs in tiny batches. Whichever commits last, the head is
// announced, and nothing is ever announced that is not stored without a hole.
func TestTwoPersistersAnnounceTheHead(t *testing.T) {
	t.Parallel()
	for name, fresh := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t)
			const head, rooms = 300, 3
			reader := db.Open(t)
			var h heard
			announce := func(ctx context.Context, m events.MessagesStored) error {
				for room, mark := range m.Rooms {
					page, err := reader.Page(ctx, persister.PageQuery{Room: room, After: mark - 1, Limit: 1, MaxBytes: 1})
					if err != nil {
						return err
					}
					if page.Watermark < mark {
						t.Errorf("%s: announced %d, stored up to %d", room, mark, page.Watermark)
					}
				}
				return h.announce(ctx, m)
			}
			start := make(chan struct{})
			var handlers sync.WaitGroup
			for w := range 2 {
				// Announcements without a pause, so that there are as many races as can be.
				p := persister.New(persister.Options{Store: db.Open(t), Announce: announce, Logger: quiet(), AnnounceEvery: 1})
				defer running(t, p)()
				for room := range rooms {
					var mine []events.MessageSent
					for seq := int64(1 + w); seq <= head; seq += 2 {
						mine = append(mine, storetest.Event(fmt.Sprintf("room%d", room), seq))
					}
					raw := encoded(t, mine)
					handlers.Go(func() {
						<-start
						for len(raw) > 0 {
							n := min(3, len(raw))
							if err := errors.Join(p.Handle(t.Context(), raw[:n])...); err != nil {
								t.Error(err)
							}
							raw = raw[n:]
						}
					})
				}
			}
			close(start)
			handlers.Wait()
			for room := range rooms {
				name := fmt.Sprintf("room%d", room)
				h.through(t, name, head)
				stored(t, reader, name, head)
			}
		})
	}
}

// The database itself refuses a row, for a reason that no check knew.
func TestRowThatTheDatabaseRefusesFailsAlone(t *testing.T) {
	t.Parallel()
	batch := storetest.Events("ops", 1, 100)
	refused := map[int]bool{0: true, 41: true, 42: true, 99: true}
	for i := range refused {
		batch[i].From = "refused"
	}
	run := func(t *testing.T, s persister.Store) {
		t.Helper()
		errs, err := s.Insert(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			if refused[i] != (events.IsPermanent(err) && errors.Is(err, persister.ErrBadEvent)) || !refused[i] && err != nil {
				t.Errorf("event %d: %v, want a permanent error: %v", i+1, err, refused[i])
			}
		}
		for i := range refused {
			batch := storetest.Events("ops", int64(i+1), int64(i+1))
			if errs, err := s.Insert(t.Context(), batch); err != nil || errs[0] != nil {
				t.Fatal(err, errs)
			}
		}
		stored(t, s, "ops", 100)
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pool, _ := dbtest.Postgres(t)
		if _, err := pool.Exec(t.Context(), `ALTER TABLE persister.messages ADD CHECK (sender <> 'refused')`); err != nil {
			t.Fatal(err)
		}
		run(t, persister.NewPostgres(pool))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		file := dbtest.SQLite(t, migrations.Persister)
		mustExec(t, file.Writer, `CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN NEW.sender = 'refused'
			BEGIN SELECT RAISE(ABORT, 'refused'); END`)
		run(t, persister.NewSQLite(file.Writer, file.Reader))
	})
}

// A schema that is not there is an outage, not the fault of the events.
func TestMissingTableIsNotPermanent(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	if _, err := pool.Exec(t.Context(), `ALTER TABLE persister.messages RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	if errs, err := persister.NewPostgres(pool).Insert(t.Context(), storetest.Events("ops", 1, 3)); err == nil || events.IsPermanent(err) {
		t.Errorf("postgres: %v, %v, want an outage", errs, err)
	}
	file := dbtest.SQLite(t, migrations.Persister)
	mustExec(t, file.Writer, `ALTER TABLE messages RENAME TO away`)
	if errs, err := persister.NewSQLite(file.Writer, file.Reader).Insert(t.Context(), storetest.Events("ops", 1, 3)); err == nil || events.IsPermanent(err) {
		t.Errorf("sqlite: %v, %v, want an outage", errs, err)
	}
}

// The connection is cut again and again while handlers try their events until they are answered.
func TestDatabaseThatComesAndGoes(t *testing.T) {
	t.Parallel()
	px, through, direct := behindProxy(t)
	const handlers, each = 8, 40
	var h heard
	p := persister.New(persister.Options{Store: persister.NewPostgres(through), Announce: h.announce, Logger: quiet()})
	defer running(t, p)()
	var wg sync.WaitGroup
	progress := make(chan struct{}, handlers*each)
	for w := range handlers {
		var mine []events.MessageSent
		for i := range each {
			mine = append(mine, storetest.Event("ops", int64(1+w+i*handlers)))
		}
		raw := encoded(t, mine)
		wg.Go(func() {
			for i := range raw {
				for {
					err := errors.Join(p.Handle(t.Context(), raw[i:i+1])...)
					if err == nil {
						break
					}
					if events.IsPermanent(err) || t.Context().Err() != nil {
						t.Errorf("an outage was answered with %v", err)
						return
					}
				}
				progress <- struct{}{}
			}
		})
	}
	for range 5 {
		for range 50 {
			<-progress
		}
		px.Cut()
	}
	wg.Wait()
	stored(t, persister.NewPostgres(direct), "ops", handlers*each)
	h.through(t, "ops", handlers*each)
}

func mustExec(tb testing.TB, db *sql.DB, statement string) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), statement); err != nil {
		tb.Fatal(err)
	}
}
