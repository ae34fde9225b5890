package chatroom

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// turnCount is how many sends of a room go into a transaction before those of the next room.
	turnCount = 64
	// waitingBytes bounds the sends that wait, with waitingOverhead for each beside its text: a second or two of work, all of
	// which a stop still waits for. Whoever finds it full waits, and reads nothing more from its connection meanwhile.
	waitingBytes    = 10 << 20
	waitingOverhead = 512
)

// waiting are the sends that wait for a transaction. They leave by rooms, and from each room in the order of their coming. A
// transaction locks a room and moves its head once, however many sends of it it holds, and senders and readers get in one
// write what went together; who has several messages in flight then sends several at once again. The rooms take turns: at
// most one turn of each other one is before a send to a room where none waits. Many may put; one takes.
type waiting struct {
	space   *semaphore.Weighted // of waitingBytes; who waits for it is served in order
	arrived chan struct{}       // of size 1; filled by each put

	mu    sync.Mutex // guards the fields below
	rooms map[string]*line
	turns []*line // each that is in rooms, once
	ended bool
}

// line is what waits of a room; never empty.
type line struct {
	room  string
	sends []pending
}

func newWaiting() *waiting {
	return &waiting{space: semaphore.NewWeighted(waitingBytes), arrived: make(chan struct{}, 1), rooms: make(map[string]*line)}
}

// put adds a send, and blocks while there is no space for it. On an error, that of ctx or errStopping, nothing was added.
func (w *waiting) put(ctx context.Context, p pending) error {
	if err := w.space.Acquire(ctx, weight(p)); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		w.space.Release(weight(p)) // for the next one who waits, to hear the same
		return errStopping
	}
	l := w.rooms[p.send.Room]
	if l == nil {
		l = &line{room: p.send.Room}
		w.rooms[l.room] = l
		w.turns = append(w.turns, l)
	}
	l.sends = append(l.sends, p)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	return nil
}

func weight(p pending) int64 { return int64(len(p.send.Text) + waitingOverhead) }

// end makes that nothing is added any more. What waits can still be taken.
func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

// take moves what waits to the end of batch, until that is as large as a transaction may be.
func (w *waiting) take(batch []pending) []pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, freed := 0, int64(0)
	for len(w.turns) > 0 && len(batch) < batchCount && text < batchBytes {
		l := w.turns[0]
		w.turns[0] = nil
		w.turns = w.turns[1:]
		n := 0
		for n < min(len(l.sends), turnCount, batchCount-len(batch)) && text < batchBytes {
			text += len(l.sends[n].send.Text)
			freed += weight(l.sends[n])
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
	if len(w.turns) == 0 {
		w.turns = nil
	}
	w.space.Release(freed)
	return batch
}
