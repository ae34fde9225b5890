package chatroom

import (
	"runtime"
	"slices"
	"sync"
)

// task is something that a flusher writes for: the readers of a lane, or one session. Its place is guarded by the mutex of
// flushers.
type task interface {
	flush(f *flusher)
	place() *place
}

// place is where a task stands. No two flushers have the same task at once: what comes meanwhile is written by the next
// turn, together, so that a busy room takes few large writes and not many small ones.
type place uint8

const (
	idle    place = iota
	queued        // waits for a flusher
	running       // a flusher has it
	again         // likewise, and there is more since
)

// flushers is a few goroutines that write to all connections which take what they are given; see [session] for the others.
// Nothing that they do blocks, so there is one for each processor. Goroutines: run's own; run waits for them.
type flushers struct {
	mu    sync.Mutex // guards the fields below; a leaf
	more  sync.Cond  // of mu
	queue []task     // first in, first out
	ended bool
}

func newFlushers() *flushers {
	p := &flushers{}
	p.more.L = &p.mu
	return p
}

// wake gives a task a turn. It never blocks.
func (p *flushers) wake(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch at := t.place(); *at {
	case idle:
		*at = queued
		p.queue = append(p.queue, t)
		p.more.Signal()
	case running:
		*at = again
	case queued, again: // it will see what is new
	}
}

// run flushes until end is called and nothing waits any more.
func (p *flushers) run() {
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			f := newFlusher()
			for t := p.take(); t != nil; t = p.take() {
				t.flush(f)
				p.done(t)
			}
		})
	}
	wg.Wait()
}

func (p *flushers) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.more.Broadcast()
}

// take waits for a task; nil is the end.
func (p *flushers) take() task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 {
		if p.ended {
			return nil
		}
		p.more.Wait()
	}
	t := p.queue[0]
	p.queue[0] = nil
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	*t.place() = running
	return t
}

func (p *flushers) done(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := t.place(); *at == again {
		*at = queued
		p.queue = append(p.queue, t)
		p.more.Signal()
	} else {
		*at = idle
	}
}

// flusher is what one of the goroutines needs. It is used again for each connection, so that a delivery allocates nothing.
type flusher struct {
	directWrite
	frames frameBuffer
	subs   []*subscription
}

func newFlusher() *flusher {
	f := &flusher{}
	f.directWrite.init()
	return f
}

// laneReaders is how many readers of a room share a lane.
const laneReaders = 256

// lane is a part of a room's readers, whom one flusher serves at a time; a room that is large has several, for several
// processors.
type lane struct {
	room  *room
	subs  []*subscription // guarded by room.mu
	where place
}

func (l *lane) place() *place { return &l.where }

// flush writes to each reader of the lane what is new in the room, and what else waits for him.
func (l *lane) flush(f *flusher) {
	l.room.mu.Lock()
	f.subs = append(f.subs[:0], l.subs...)
	l.room.mu.Unlock()
	for _, sub := range f.subs {
		s := sub.session
		s.mu.Lock()
		s.markDirtyLocked(sub)
		s.flushLocked(f)
		s.mu.Unlock()
	}
	clear(f.subs)
}

// subscribeLocked gives a subscription a place in a lane. The room's mu is held.
func (r *room) subscribeLocked(sub *subscription) {
	at := slices.IndexFunc(r.lanes, func(l *lane) bool { return len(l.subs) < laneReaders })
	if at < 0 {
		at = len(r.lanes)
		r.lanes = append(r.lanes, &lane{room: r})
	}
	l := r.lanes[at]
	sub.lane, sub.at = l, len(l.subs)
	l.subs = append(l.subs, sub)
	r.readers++
}

func (r *room) unsubscribeLocked(sub *subscription) {
	l := sub.lane
	last := len(l.subs) - 1
	l.subs[sub.at] = l.subs[last]
	l.subs[sub.at].at = sub.at
	l.subs[last] = nil
	l.subs = l.subs[:last]
	r.readers--
	if last == 0 {
		r.lanes = slices.DeleteFunc(r.lanes, func(o *lane) bool { return o == l })
	}
}

// wake lets the flushers write what is new to all readers.
func (r *room) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lanes {
		r.flushers.wake(l)
	}
}
