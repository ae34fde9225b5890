package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// Memory is a store.Store in memory, for tests with virtual time: it does no I/O and passes the suite. It forgets
// everything with the process. A relay reads its outbox.
type Memory struct {
	Outbox *outboxtest.Memory

	mu       sync.Mutex // guards the fields below
	logs     map[string][]events.MessageSent
	accepted map[[2]string]events.MessageSent // by sender and id
}

var _ store.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		Outbox: outboxtest.NewMemory(), logs: map[string][]events.MessageSent{},
		accepted: map[[2]string]events.MessageSent{},
	}
}

// Log returns all that was ever committed in a room: the event of seq n is the element n-1.
func (m *Memory) Log(room string) []events.MessageSent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clip(m.logs[room])
}

// Epoch implements store.Store.
func (m *Memory) Epoch(ctx context.Context) (string, error) { return "memory", ctx.Err() }

// OpenRoom implements store.Store.
func (m *Memory) OpenRoom(ctx context.Context, room string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.logs[room]; !ok && ctx.Err() == nil {
		m.logs[room] = nil
	}
	return int64(len(m.logs[room])), ctx.Err()
}

// Heads implements store.Store.
func (m *Memory) Heads(ctx context.Context, rooms []string) (map[string]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	heads := map[string]int64{}
	for _, room := range rooms {
		if log, ok := m.logs[room]; ok {
			heads[room] = int64(len(log))
		}
	}
	return heads, ctx.Err()
}

// Accept implements store.Store.
func (m *Memory) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	receipts := make([]store.Receipt, len(sends))
	var rows []outbox.Row
	for i, s := range sends {
		if receipts[i].Err = checkSend(s); receipts[i].Err != nil {
			continue
		}
		if old, ok := m.accepted[[2]string{s.Sender, s.ID}]; ok {
			receipts[i] = store.Receipt{Seq: old.Seq, SentAt: old.SentAt, Duplicate: true}
			if old.Room != s.Room || old.Text != s.Text {
				receipts[i] = store.Receipt{Err: store.ErrIDConflict}
			}
			continue
		}
		e := events.MessageSent{
			Room: s.Room, Seq: int64(len(m.logs[s.Room])) + 1, Kind: events.KindMessage, ID: s.ID, From: s.Sender, Text: s.Text,
			SentAt: s.SentAt.UTC().Truncate(time.Millisecond),
		}
		payload, err := e.Encode("")
		if err != nil {
			return nil, err
		}
		rows = append(rows, outbox.Row{Shard: events.Shard(e.Room), Key: e.Room, Seq: e.Seq, Payload: payload})
		m.logs[s.Room] = append(m.logs[s.Room], e)
		m.accepted[[2]string{s.Sender, s.ID}] = e
		receipts[i] = store.Receipt{Seq: e.Seq, SentAt: e.SentAt, Event: payload}
	}
	return receipts, m.Outbox.Append(context.WithoutCancel(ctx), rows)
}

func checkSend(s store.Send) error {
	for _, v := range []string{s.Sender, s.ID, s.Room, "a" + s.Text} {
		if v == "" || !utf8.ValidString(v) || strings.ContainsRune(v, 0) || s.SentAt.IsZero() {
			return fmt.Errorf("%w: %q", store.ErrBadRow, v)
		}
	}
	return nil
}

// Tail implements store.Store.
func (m *Memory) Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	rows := m.Outbox.Rows(room)
	log := m.Log(room) // which has all of them
	var tail []events.MessageSent
	for _, r := range rows {
		if r.Seq > after && (before == 0 || r.Seq < before) {
			tail = append(tail, log[r.Seq-1])
		}
	}
	limit = min(max(limit, 0), len(tail))
	if before != 0 {
		return tail[len(tail)-limit:], ctx.Err()
	}
	return tail[:limit], ctx.Err()
}
