package chatroom

import (
	"context"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// room is a room that somebody on this replica reads: the shared log, and who reads it. A subscription holds a cursor
// into the log and never a queue, so that a slow reader costs nothing but its cursor.
type room struct {
	name string

	loaded  chan struct{} // closed when loading ended
	loadErr error         // set before loaded is closed

	mu      sync.Mutex // guards the fields below; taken before a session's mu, never the other way
	log     roomLog
	stored  int64
	subs    map[*subscription]struct{}
	idle    time.Time // since when nobody reads; meaningless while subs is not empty
	filling bool
}

// subscription is a session's place in a room.
type subscription struct {
	// Immutable.
	room    *room
	session *session

	// Guarded by session.mu.
	cursor   *cursor // nil until the answer to the join is queued, and after a leave
	dirty    bool    // listed in session.dirty
	stored   int64   // the last mark that was told
	presence *presenceDelta
}

// cursor is how far a connection has read in a room. Each join makes a new one, so that whatever is under way for an
// older one cannot move it. Guarded by session.mu.
type cursor struct {
	after    int64    // the last seq that was handed to the connection
	page     [][]byte // events from the databases that follow on it, to be written next
	fetching bool

	ctx    context.Context // of the reads for it
	cancel context.CancelFunc
}

// add puts events into the log and wakes the readers when the head moved. It tells whether a hole is left.
func (r *room) add(now time.Time, events ...frame.Event) (hole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved := false
	for _, e := range events {
		moved = r.log.add(e, now) || moved
	}
	if moved {
		r.wakeLocked()
	}
	return r.log.hole()
}

// setStored raises the stored mark; marks are cumulative, so an old one changes nothing.
func (r *room) setStored(seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq > r.stored {
		r.stored = seq
		r.wakeLocked()
	}
}

func (r *room) wakeLocked() {
	for sub := range r.subs {
		sub.session.markDirty(sub)
	}
}

// each calls f for every subscription, under the room's lock.
func (r *room) each(f func(*subscription)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for sub := range r.subs {
		f(sub)
	}
}

// marks returns the head and the stored mark.
func (r *room) marks() (head, stored int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.head, r.stored
}

// read returns encoded events above after from the log; ok is false where the log does not reach down to it.
func (r *room) read(dst [][]byte, after int64, maxEvents, maxBytes int) (_ [][]byte, head int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst, ok = r.log.read(dst, after, maxEvents, maxBytes)
	return dst, r.log.head, ok
}

func (r *room) subscribe(sub *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs[sub] = struct{}{}
}

func (r *room) unsubscribe(sub *subscription, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subs, sub)
	if len(r.subs) == 0 {
		r.idle = now
	}
}
