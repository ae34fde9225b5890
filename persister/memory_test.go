package persister_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

func TestStoreMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Database {
		s := &memory{}
		return storetest.Database{Open: func(testing.TB) persister.Store { return s }}
	})
}

// memory is a store without a database, for tests in virtual time. It is held to the same suite.
type memory struct {
	// before is called with the events of each insert before anything else; an error is an outage.
	before func(evs []events.MessageSent) error
	// advance is called before watermarks are looked for; an error is an outage.
	advance func(rooms []string) error

	mu    sync.Mutex
	rooms map[string]map[int64]events.MessageSent // guarded by mu
}

func (m *memory) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	if m.before != nil {
		if err := m.before(evs); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := make([]error, len(evs))
	for i, e := range evs {
		if errs[i] = persister.Check(e); errs[i] != nil {
			continue
		}
		if m.rooms == nil {
			m.rooms = map[string]map[int64]events.MessageSent{}
		}
		if m.rooms[e.Room] == nil {
			m.rooms[e.Room] = map[int64]events.MessageSent{}
		}
		if old, ok := m.rooms[e.Room][e.Seq]; ok {
			errs[i] = persister.Verdict(e, old)
			continue
		}
		e.SentAt = e.SentAt.UTC().Truncate(time.Millisecond)
		m.rooms[e.Room][e.Seq] = e
	}
	return errs, nil
}

func (m *memory) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	if m.advance != nil {
		if err := m.advance(rooms); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := map[string]int64{}
	for _, room := range rooms {
		marks[room] = m.mark(room)
	}
	return marks, ctx.Err()
}

func (m *memory) mark(room string) (seq int64) {
	for {
		if _, ok := m.rooms[room][seq+1]; !ok {
			return seq
		}
		seq++
	}
}

func (m *memory) Page(ctx context.Context, q persister.PageQuery) (persister.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := persister.Page{Watermark: m.mark(q.Room), Complete: true}
	seq, end, step := q.After+1, p.Watermark+1, int64(1)
	if q.After >= p.Watermark {
		seq = end
	}
	if q.Before > 0 {
		seq, end, step = min(q.Before-1, p.Watermark), 0, -1
	}
	for bytes := 0; seq != end; seq += step {
		e := m.rooms[q.Room][seq]
		bytes += 64 + len(e.Text) + len(e.ID) + len(e.From) + len(e.Kind)
		if n := len(p.Events); n == q.Limit || n > 0 && bytes > q.MaxBytes {
			p.Complete = false
			break
		}
		if step > 0 {
			p.Events = append(p.Events, e)
		} else {
			p.Events = append([]events.MessageSent{e}, p.Events...)
		}
	}
	return p, ctx.Err()
}

// pass lets virtual time pass; only inside synctest.
func pass(d time.Duration) { <-time.After(d) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// encoded are the envelopes of events.
func encoded(tb testing.TB, evs []events.MessageSent) [][]byte {
	tb.Helper()
	raw := make([][]byte, len(evs))
	for i, e := range evs {
		var err error
		if raw[i], err = e.Encode(""); err != nil {
			tb.Fatal(err)
		}
	}
	return raw
}

// running starts a persister and returns the function that stops it and waits for it.
func running(tb testing.TB, p *persister.Persister) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v, want nil", err)
		}
	})
}

// stored fails unless a room holds exactly the events 1 to head.
func stored(tb testing.TB, s persister.Store, room string, head int64) {
	tb.Helper()
	if err := holds(s, room, head); err != nil {
		tb.Error(err)
	}
}

func holds(s persister.Store, room string, head int64) error {
	p, err := s.Page(context.Background(), persister.PageQuery{Room: room, Limit: 1_000_000, MaxBytes: math.MaxInt32})
	if err != nil {
		return err
	}
	if p.Watermark != head || int64(len(p.Events)) != head {
		return fmt.Errorf("%s has %d events under watermark %d, want %d", room, len(p.Events), p.Watermark, head)
	}
	for i, e := range p.Events {
		if want := storetest.Event(room, int64(i+1)); e != want {
			return fmt.Errorf("event %d is %+v, want %+v", i+1, e, want)
		}
	}
	return nil
}
