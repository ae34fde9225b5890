package chatroom

import (
	"maps"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// grow adds events to a room, and keeps the bound on all rooms together.
func (h *hub) grow(r *room, evs ...frame.Event) (moved, hole bool) {
	moved, hole = r.add(time.Now(), evs...)
	h.shrink()
	return moved, hole
}

// shrink drops the oldest events of all rooms, whichever they are in, when they take more than they may together: the
// rooms that are silent for longest give way first. It goes down to seven eighths, so that it is seldom due, and its cost
// for each event constant. To find how old the oldest may be it tries ages, each an eighth below that of the oldest left.
func (h *hub) shrink() {
	if h.kept.Load() <= int64(h.limits.total) || !h.shrinking.TryLock() {
		return
	}
	defer h.shrinking.Unlock()
	for age := h.limits.ttl; h.kept.Load() > int64(h.limits.total/8*7); {
		now, oldest := time.Now(), time.Duration(0)
		for _, r := range h.all() {
			r.mu.Lock()
			r.log.trim(now, age)
			oldest = max(oldest, r.log.age(now))
			r.mu.Unlock()
		}
		age = oldest - oldest/8
	}
}

// all returns the rooms that are held here.
func (h *hub) all() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.rooms))
}
