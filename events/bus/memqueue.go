package bus

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// memItem is one message on its way to one group.
type memItem struct {
	msg   *message.Message
	times int             // it was delivered, and came back
	gone  bool            // withdrawn; guarded by the queue's mu
	done  func(err error) // called once at most, when the message has left the queue for good; never blocks
}

// memQueue holds the messages of one group, oldest first. What was not acknowledged returns to its head.
type memQueue struct {
	// Immutable.
	limit     int  // 0: whoever publishes waits, and so bounds it
	needsHere bool // without a reader nothing may wait

	mu      sync.Mutex // guards the fields below
	items   []*memItem
	readers int
	changed chan struct{} // closed and replaced when a reader may find more than before
}

func newMemQueue(limit int, needsHere bool) *memQueue {
	return &memQueue{limit: limit, needsHere: needsHere, changed: make(chan struct{})}
}

func (q *memQueue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// push appends; when full, the oldest are dropped, and their number returned.
func (q *memQueue) push(items ...*memItem) (dropped int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.needsHere && q.readers == 0 {
		return 0, ErrAbsent
	}
	q.items = append(q.items, items...)
	if over := len(q.items) - q.limit; q.limit > 0 && over > 0 {
		q.items = append([]*memItem(nil), q.items[over:]...)
		dropped = over
	}
	q.signal()
	return dropped, nil
}

// pop waits for the oldest item until ctx ends; then it returns nil.
func (q *memQueue) pop(ctx context.Context) *memItem {
	for {
		q.mu.Lock()
		if ctx.Err() == nil && len(q.items) > 0 {
			it := q.items[0]
			q.items[0] = nil
			q.items = q.items[1:]
			q.mu.Unlock()
			return it
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// back returns an item to the head, unless nobody is left to read it.
func (q *memQueue) back(it *memItem) {
	q.mu.Lock()
	absent := q.needsHere && q.readers == 0
	if !absent && !it.gone {
		q.items = append([]*memItem{it}, q.items...)
		q.signal()
	}
	q.mu.Unlock()
	if absent && it.done != nil {
		it.done(ErrAbsent)
	}
}

// withdraw takes out what still waits of items: their publisher has given up.
func (q *memQueue) withdraw(items []*memItem) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		it.gone = true
	}
	kept := q.items[:0]
	for _, it := range q.items {
		if !it.gone {
			kept = append(kept, it)
		}
	}
	clear(q.items[len(kept):])
	q.items = kept
}

func (q *memQueue) enter() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.readers++
}

// leave fails all that waits when the last reader goes: its publisher must hear that nobody took it.
func (q *memQueue) leave() {
	q.mu.Lock()
	q.readers--
	var lost []*memItem
	if q.needsHere && q.readers == 0 {
		lost, q.items = q.items, nil
	}
	q.mu.Unlock()
	for _, it := range lost {
		if it.done != nil {
			it.done(ErrAbsent)
		}
	}
}
