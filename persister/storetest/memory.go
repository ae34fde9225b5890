package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
)

// Memory is a persister.Store without a database, for tests in virtual time: it does no I/O and passes the suite. The zero
// value is empty.
type Memory struct {
	// Before is called with the events of each insert before anything else; an error is an outage.
	Before func(evs []events.MessageSent) error
	// Advance is called before watermarks are looked for; an error is an outage.
	Advance func(rooms []string) error

	mu    sync.Mutex
	rooms map[string]map[int64]events.MessageSent // guarded by mu
}

// Insert implements persister.Store.
func (m *Memory) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	if m.Before != nil {
		if err := m.Before(evs); err != nil {
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
		if errs[i] = check(e); errs[i] != nil {
			continue
		}
		if m.rooms == nil {
			m.rooms = map[string]map[int64]events.MessageSent{}
		}
		if m.rooms[e.Room] == nil {
			m.rooms[e.Room] = map[int64]events.MessageSent{}
		}
		if old, ok := m.rooms[e.Room][e.Seq]; ok {
			errs[i] = verdict(e, old)
			continue
		}
		e.SentAt = e.SentAt.UTC().Truncate(time.Millisecond)
		m.rooms[e.Room][e.Seq] = e
	}
	return errs, nil
}

// AdvanceWatermarks implements persister.Store.
func (m *Memory) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	if m.Advance != nil {
		if err := m.Advance(rooms); err != nil {
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

// Stored returns an event, and whether it is stored.
func (m *Memory) Stored(room string, seq int64) (events.MessageSent, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.rooms[room][seq]
	return e, ok
}

// Watermark tells through which seq a room is stored without a hole.
func (m *Memory) Watermark(room string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mark(room)
}

func (m *Memory) mark(room string) (seq int64) {
	for {
		if _, ok := m.rooms[room][seq+1]; !ok {
			return seq
		}
		seq++
	}
}

// Page implements persister.Store.
func (m *Memory) Page(ctx context.Context, q persister.PageQuery) (persister.Page, error) {
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

func check(e events.MessageSent) error {
	size := len(e.Room) + len(e.Kind) + len(e.ID) + len(e.From) + len(e.Text)
	bad := e.Seq < 1 || e.SentAt.Year() < 1 || e.SentAt.Year() > 9999 || len(e.Room) > 256 || size > persister.MaxEventBytes
	for _, v := range []string{e.Room, e.Kind, e.ID, e.From, "a" + e.Text} {
		bad = bad || v == "" || strings.IndexByte(v, 0) >= 0 || !utf8.ValidString(v)
	}
	if bad {
		return events.Permanent(persister.ErrBadEvent)
	}
	return nil
}

func verdict(e, old events.MessageSent) error {
	if e.Kind == old.Kind && e.ID == old.ID && e.From == old.From && e.Text == old.Text && e.SentAt.UnixMilli() == old.SentAt.UnixMilli() {
		return nil
	}
	return events.Permanent(fmt.Errorf("%s: %w", events.EventID(e.Room, e.Seq), persister.ErrConflict))
}
