package chatroom

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// room is a room that somebody on this replica reads: the shared log, and who reads it. A subscription holds a cursor
// into the log and never a queue, so that a slow reader costs nothing but its cursor.
type room struct {
	name     string
	flushers *flushers

	loaded  chan struct{} // closed when loading ended
	loadErr error         // set before loaded is closed

	mu      sync.Mutex // guards the fields below; taken after a session's mu, never the other way
	log     roomLog
	stored  int64
	lanes   []*lane // none is empty
	readers int
	idle    time.Time // since when nobody reads; meaningless while somebody does
	filling bool
	steps   struct {
		head, mark int64 // where the room stood when they were made
		list       []step
	}
	scratch []byte
	encoded [][]byte
}

// subscription is a session's place in a room.
type subscription struct {
	// Immutable.
	room    *room
	session *session

	// Guarded by room.mu.
	lane *lane
	at   int // in lane.subs

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
	cancel   context.CancelFunc // of the read for it; nil without one
}

// add puts events into the log; the readers are not woken. moved tells whether the head moved, hole whether a hole is left.
func (r *room) add(now time.Time, events ...frame.Event) (moved, hole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		moved = r.log.add(e, now) || moved
	}
	return moved, r.log.hole()
}

// setStored raises the stored mark; marks are cumulative, so an old one changes nothing.
func (r *room) setStored(seq int64) {
	r.mu.Lock()
	news := seq > r.stored
	r.stored = max(r.stored, seq)
	r.mu.Unlock()
	if news {
		r.wake()
	}
}

// subscriptions returns all of them, as they are now.
func (r *room) subscriptions() []*subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*subscription, 0, r.readers)
	for _, l := range r.lanes {
		all = append(all, l.subs...)
	}
	return all
}

// marks returns the head and the stored mark.
func (r *room) marks() (head, stored int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.head, r.stored
}

func (r *room) subscribe(sub *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribeLocked(sub)
}

func (r *room) unsubscribe(sub *subscription, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsubscribeLocked(sub)
	if r.readers == 0 {
		r.idle = now
	}
}

// spot is where a reader stands: what he has, and how much of it he knows to be stored.
type spot struct{ after, stored int64 }

// step leads a reader from one spot to the next. Its frames are encoded once, for all who stand there.
type step struct {
	from, to spot
	events   int
	more     bool   // than one frame holds
	frames   []byte // an events frame, a stored frame, both, or none
}

// maxSteps is how many steps a room remembers. Readers who keep up are all at one spot, or on their way there.
const maxSteps = 8

// next returns the step from a spot. ok is false where it lies below what the log holds, and the reader has to ask the
// database.
func (r *room) next(from spot) (_ step, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	head, mark := r.log.head, r.stored
	if from.after >= head && min(mark, from.after) <= from.stored {
		return step{from: from, to: from}, true
	}
	if r.steps.head != head || r.steps.mark != mark {
		r.steps.head, r.steps.mark, r.steps.list = head, mark, r.steps.list[:0]
	}
	for _, s := range r.steps.list {
		if s.from == from {
			return s, true
		}
	}
	if r.encoded, ok = r.log.read(r.encoded[:0], from.after, frameEvents, frameBytes); !ok {
		return step{}, false
	}
	s := step{from: from, to: from, events: len(r.encoded)}
	if s.events > 0 {
		r.scratch = frame.AppendEvents(r.scratch[:0], r.name, r.encoded)
		s.frames = appendFrame(make([]byte, 0, maxFrameHeader+len(r.scratch)), websocket.TextMessage, r.scratch)
		s.to.after += int64(s.events)
		s.more = s.to.after < head
		clear(r.encoded)
	}
	if told := min(mark, s.to.after); told > from.stored {
		s.frames = appendFrame(s.frames, websocket.TextMessage, storedFrame(r.name, told))
		s.to.stored = told
	}
	if len(r.steps.list) == maxSteps {
		r.steps.list = slices.Delete(r.steps.list, 0, 1)
	}
	r.steps.list = append(r.steps.list, s)
	return s, true
}

// forgetLocked gives up what is only there to be quick. The room's mu is held.
func (r *room) forgetLocked() {
	r.steps.list, r.scratch, r.encoded = nil, nil, nil
}

// storedFrame tells a stored mark. One above what the client has seen would name events that it does not know.
func storedFrame(room string, mark int64) []byte {
	return frame.Encode(frame.Stored{Type: frame.TypeStored, Room: room, Seq: mark})
}
