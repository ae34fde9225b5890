package chatroom

import (
	"context"
	"sync"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

// simHistory is the persister, seen from the chat room: it stores events in any order and pages end at the first hole. Its
// pages are short.
type simHistory struct {
	mu   sync.Mutex // guards the fields below
	evs  map[int64]events.MessageSent
	mark int64
}

func (h *simHistory) store(e events.MessageSent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.evs[e.Seq] = e
	for {
		if _, ok := h.evs[h.mark+1]; !ok {
			return
		}
		h.mark++
	}
}

func (h *simHistory) watermark(string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mark
}

func (h *simHistory) page(after, before int64, limit int) []events.MessageSent {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit = min(limit, 3)
	first, last := after+1, min(h.mark, after+int64(limit))
	if before > 0 {
		last = min(before-1, h.mark)
		first = max(1, last-int64(limit)+1)
	}
	var page []events.MessageSent
	for seq := first; seq <= last; seq++ {
		page = append(page, h.evs[seq])
	}
	return page
}

// remoteHistory is the history behind the link of a replica.
type remoteHistory struct {
	*simHistory
	link *sim.Link
}

func (h remoteHistory) Page(ctx context.Context, _ string, after, before int64, limit int) ([]events.MessageSent, error) {
	return sim.Call(ctx, h.link, "history/Page", func() ([]events.MessageSent, error) { return h.page(after, before, limit), nil })
}

func (h remoteHistory) Watermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	return sim.Call(ctx, h.link, "history/Watermarks", func() (map[string]int64, error) {
		marks := map[string]int64{}
		for _, room := range rooms {
			marks[room] = h.watermark(room)
		}
		return marks, nil
	})
}
