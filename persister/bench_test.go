package persister_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// BenchmarkHandle has 64 callers at once, each with one call in flight, as the handlers of a consumer are, and compares
// with BenchmarkBareInsert of the same rows. events/s is the figure to look at. Recorded is with the flight recorder, as
// the service runs.
func BenchmarkHandle(b *testing.B) {
	for _, database := range []string{"postgres", "sqlite"} {
		for _, each := range []int{1, 64} {
			for name, handling := range map[string]handling{"alone": nil, "recorded": recorded()} {
				b.Run(fmt.Sprintf("%s/64 callers of %d/%s", database, each, name), func(b *testing.B) {
					benchHandle(b, database, 64, each, handling)
				})
			}
		}
	}
}

type handling = func(context.Context, []events.MessageSent) func([]error)

func recorded() handling {
	r := flightrecorder.New("persister")
	return func(_ context.Context, evs []events.MessageSent) func([]error) {
		span := r.Begin(flightrecorder.Delivery, flightrecorder.Turn{Number: 1, Try: 1}, len(evs), func(i int) (string, int64) {
			return evs[i].Room, evs[i].Seq
		})
		return func(errs []error) {
			span.End(func(i int) (flightrecorder.Outcome, error) { return flightrecorder.Done, errs[i] })
		}
	}
}

func benchHandle(b *testing.B, database string, callers, each int, handling handling) {
	b.Helper()
	inserts := 0
	p := persister.New(persister.Options{
		Store: benchStore(b, database), Announce: nothing, Logger: quiet(), Observe: func(persister.Insert) { inserts++ },
		Handling: handling,
	})
	stop := running(b, p)
	raw := make([][][]byte, callers) // of each caller, its own room
	for c := range raw {
		raw[c] = encoded(b, benchEvents(c, b.N/callers/each*each+each))
	}
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := 0; i+each <= len(raw[c]); i += each {
				if err := errors.Join(p.Handle(context.Background(), raw[c][i:i+each])...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := callers * len(raw[0])
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "events/s")
	stop()
	b.ReportMetric(float64(total)/float64(inserts), "events/insert")
}

// instant stores at once and keeps nothing, so that what is measured is the persister's own.
type instant struct{ memory }

func (*instant) Insert(_ context.Context, evs []events.MessageSent) ([]error, error) {
	return make([]error, len(evs)), nil
}

// BenchmarkBatch is callers with one call in flight each, over a database that needs no time: what decoding and batching
// cost; one operation is a call.
func BenchmarkBatch(b *testing.B) {
	for _, of := range []struct{ callers, each int }{{1, 1}, {64, 1}, {64, 64}} {
		b.Run(fmt.Sprintf("%d callers of %d", of.callers, of.each), func(b *testing.B) {
			p := persister.New(persister.Options{Store: &instant{}, Announce: nothing, Logger: quiet()})
			stop := running(b, p)
			raw := encoded(b, benchEvents(0, of.each))
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			var wg sync.WaitGroup
			for c := range of.callers {
				wg.Go(func() {
					for n := c; n < b.N; n += of.callers {
						if err := errors.Join(p.Handle(b.Context(), raw)...); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N*of.each)/time.Since(start).Seconds(), "events/s")
			stop()
		})
	}
}

// BenchmarkBareInsert is one caller that inserts batches of a given size and does nothing else.
func BenchmarkBareInsert(b *testing.B) {
	for _, database := range []string{"postgres", "sqlite"} {
		for _, size := range []int{64, 1024} {
			b.Run(fmt.Sprintf("%s/%d", database, size), func(b *testing.B) {
				s := benchStore(b, database)
				evs := make([]events.MessageSent, 0, b.N+size)
				for c := range 64 {
					evs = append(evs, benchEvents(c, b.N/64+size/64+1)...)
				}
				b.ResetTimer()
				start := time.Now()
				for i := 0; i+size <= len(evs); i += size {
					if _, err := s.Insert(context.Background(), evs[i:i+size]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(evs)/size*size)/time.Since(start).Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkAdvanceLongRoom finds the watermark of a room of a million events that has none.
func BenchmarkAdvanceLongRoom(b *testing.B) {
	const head = 1_000_000
	pool, _ := dbtest.Postgres(b)
	fill(b, pool, "long", head)
	s := persister.NewPostgres(pool)
	b.ResetTimer()
	for range b.N {
		marks, err := s.AdvanceWatermarks(context.Background(), []string{"long"})
		if err != nil || marks["long"] != head {
			b.Fatal(marks, err)
		}
		if _, err := pool.Exec(context.Background(), `DELETE FROM persister.watermarks`); err != nil {
			b.Fatal(err)
		}
	}
}

func benchStore(tb testing.TB, database string) persister.Store {
	tb.Helper()
	if database == "sqlite" {
		s := dbtest.SQLite(tb, migrations.Persister)
		return persister.NewSQLite(s.Writer, s.Reader)
	}
	pool, _ := dbtest.Postgres(tb)
	return persister.NewPostgres(pool)
}

// benchEvents have texts of 100 bytes.
func benchEvents(caller, n int) []events.MessageSent {
	evs := storetest.Events(fmt.Sprintf("room%d", caller), 1, int64(n))
	for i := range evs {
		evs[i].Text = fmt.Sprintf("%0100d", i)
	}
	return evs
}
