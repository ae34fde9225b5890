package chatroom

import (
	"context"
	"sync"
)

const (
	// turnCount is how many sends of a room go into a transaction before those of the next room.
	turnCount = 64
	// waitingBytes bounds the sends that wait, with waitingOverhead for each beside its text. Whoever finds it full waits,
	// and reads nothing more from its connection meanwhile.
	waitingBytes    = 64 << 20
	waitingOverhead = 512
)

// waiting are the sends that wait for a transaction. They leave by rooms, which take turns, and from each room in the order
// of their coming. A transaction locks a room and moves its head once, however many sends of it it holds, and senders and
// readers get in one write what went together; who has several messages in flight then sends several at once again. Many
// may put; one takes.
type waiting struct {
	arrived chan struct{} // of size 1; filled where something waits

	mu    sync.Mutex // guards the fields below
	rooms map[string]*line
	turns []*line // each that is in rooms, once
	bytes int
	freed chan struct{} // closed when there is space again, or never will be; nil while nobody waits for that
	ended bool
}

// line is what waits of a room; never empty.
type line struct {
	room  string
	sends []pending
}

func newWaiting() *waiting {
	return &waiting{arrived: make(chan struct{}, 1), rooms: make(map[string]*line)}
}

// put adds a send, and blocks while there is no space for it. On an error, that of ctx or errStopping, nothing was added.
func (w *waiting) put(ctx context.Context, p pending) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.bytes >= waitingBytes && !w.ended {
		if w.freed == nil {
			w.freed = make(chan struct{})
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		w.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if w.ended {
		return errStopping
	}
	l := w.rooms[p.send.Room]
	if l == nil {
		l = &line{room: p.send.Room}
		w.rooms[l.room] = l
		w.turns = append(w.turns, l)
	}
	l.sends = append(l.sends, p)
	w.bytes += weight(p)
	w.tellLocked()
	return nil
}

// end makes that nothing is added any more. What waits can still be taken.
func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.freeLocked()
}

// freeLocked wakes who waits for space. The mu is held.
func (w *waiting) freeLocked() {
	if w.freed != nil {
		close(w.freed)
		w.freed = nil
	}
}

func weight(p pending) int { return len(p.send.Text) + waitingOverhead }

// tellLocked fills arrived. The mu is held.
func (w *waiting) tellLocked() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// take moves what waits to the end of batch, until that is as large as a transaction may be.
func (w *waiting) take(batch []pending) []pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := 0
	for len(w.turns) > 0 && len(batch) < batchCount && text < batchBytes {
		l := w.turns[0]
		w.turns[0] = nil
		w.turns = w.turns[1:]
		n := 0
		for n < min(len(l.sends), turnCount, batchCount-len(batch)) && text < batchBytes {
			text += len(l.sends[n].send.Text)
			w.bytes -= weight(l.sends[n])
			n++
		}
		batch = append(batch, l.sends[:n]...)
		clear(l.sends[:n]) // the array is kept by what is left
		if l.sends = l.sends[n:]; len(l.sends) > 0 {
			w.turns = append(w.turns, l)
		} else {
			delete(w.rooms, l.room)
		}
	}
	if len(w.turns) > 0 {
		w.tellLocked()
	} else {
		w.turns = nil
	}
	if w.bytes < waitingBytes {
		w.freeLocked()
	}
	return batch
}
