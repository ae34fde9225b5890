package chatroom

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

const (
	// holePatience is how long events above a hole wait for the missing ones to come over the fan-out, before the
	// database is asked for them.
	holePatience = 20 * time.Millisecond
	// repairEvery is how often heads and stored marks are compared with the databases, for what the fan-out lost.
	repairEvery = 2 * time.Second
	// fillPage is how many events one step of filling a hole reads.
	fillPage = 500
	// openTimeout bounds the reads that open a room.
	openTimeout = 5 * time.Second
)

// hub holds the rooms that somebody reads here, and for a while those that somebody read. It does no I/O under a lock.
// Goroutines: run's own, and one for each room whose hole is being filled; run waits for them.
type hub struct {
	reader *reader
	limits logLimits
	log    *slog.Logger
	marked func(map[string]int64) // takes stored marks that a repair found
	ctx    context.Context        // ends with the server; bounds the fills
	fills  sync.WaitGroup

	flushers *flushers

	kept      atomic.Int64 // bytes in the logs of all rooms
	shrinking sync.Mutex   // held by who shrinks them; taken before mu

	mu    sync.Mutex // guards rooms; taken before a room's mu
	rooms map[string]*room
}

func newHub(
	ctx context.Context, r *reader, limits logLimits, f *flushers, log *slog.Logger, marked func(map[string]int64),
) *hub {
	return &hub{ctx: ctx, reader: r, limits: limits, flushers: f, log: log, marked: marked, rooms: make(map[string]*room)}
}

// open returns the room, loaded from the databases by the first who asks; the others wait for that.
func (h *hub) open(ctx context.Context, name string) (*room, error) {
	h.mu.Lock()
	r, found := h.rooms[name]
	if !found {
		r = &room{
			name: name, flushers: h.flushers, loaded: make(chan struct{}), log: newRoomLog(h.limits, &h.kept), idle: time.Now(),
		}
		h.rooms[name] = r
	}
	h.mu.Unlock()
	if !found {
		// One caller's impatience must not fail the others who wait for this load.
		loadCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
		r.loadErr = h.load(loadCtx, r)
		cancel()
		if r.loadErr != nil {
			h.forget(r)
		}
		close(r.loaded)
		r.mu.Lock()
		hole := r.log.hole()
		r.mu.Unlock()
		if hole && r.loadErr == nil {
			h.fill(r, holePatience)
		}
	}
	select {
	case <-r.loaded:
		return r, r.loadErr
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// load reads the head, the stored mark and the recent events. Live events that come meanwhile wait in the log.
func (h *hub) load(ctx context.Context, r *room) error {
	head, err := h.reader.store.OpenRoom(ctx, r.name)
	if err != nil {
		return err
	}
	// The head was read first: if the outbox then holds nothing of the room, all up to that head is stored.
	tail, err := h.reader.store.Tail(ctx, r.name, 0, 0, 1)
	if err != nil {
		return err
	}
	stored := head
	if len(tail) > 0 {
		stored = min(head, tail[0].Seq-1)
	}
	recent, err := h.reader.before(ctx, r.name, head, min(h.limits.count, frame.MaxHistory))
	if err != nil {
		// The room works without them: who joins is served from the databases as soon as they answer.
		h.log.WarnContext(ctx, "recent events not loaded", "room", r.name, "error", err)
		recent = nil
	}
	r.mu.Lock()
	r.log.start(head, recent, time.Now())
	r.stored = max(r.stored, stored)
	r.mu.Unlock()
	h.shrink()
	return nil
}

func (h *hub) forget(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[r.name] == r {
		delete(h.rooms, r.name)
	}
}

// get returns the room if it is held here, or nil.
func (h *hub) get(name string) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[name]
}

// subscribe adds a subscription, unless the room was dropped since it was opened.
func (h *hub) subscribe(sub *subscription) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[sub.room.name] != sub.room {
		return false
	}
	sub.room.subscribe(sub)
	return true
}

// add hands committed events of one room to its readers here, whoever accepted them.
func (h *hub) add(name string, evs ...frame.Event) {
	if r := h.put(name, evs...); r != nil {
		r.wake()
	}
}

// put is add, but for the waking: it returns the room whose readers are to be woken, or nil. A hole is filled from the
// database if the fan-out does not bring what is missing soon.
func (h *hub) put(name string, evs ...frame.Event) *room {
	r := h.get(name)
	if r == nil {
		return nil
	}
	moved, hole := h.grow(r, evs...)
	if hole {
		h.fill(r, holePatience)
	}
	if !moved {
		return nil
	}
	return r
}

// fill starts to read what is missing in a room, after a moment's patience, unless that goes on already. A room that is
// still loading is left to load.
func (h *hub) fill(r *room, patience time.Duration) {
	if mutant.FanoutNotRepaired {
		return
	}
	select {
	case <-r.loaded:
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filling || h.ctx.Err() != nil {
		return
	}
	r.filling = true
	h.fills.Go(func() {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-t.C:
		case <-h.ctx.Done():
		}
		err := h.fillNow(r)
		if err != nil && h.ctx.Err() == nil {
			h.log.Warn("hole not filled yet", "room", r.name, "error", err)
		}
	})
}

// fillNow reads on from the log's head until there is nothing above it, and ends the room's filling.
func (h *hub) fillNow(r *room) error {
	for {
		r.mu.Lock()
		head, waiting := r.log.head, len(r.log.waiting)
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(h.ctx, openTimeout)
		evs, err := h.reader.after(ctx, r.name, head, fillPage)
		cancel()
		if moved, _ := h.grow(r, evs...); moved {
			r.wake()
		}
		if err == nil && len(evs) > 0 {
			continue // a page may be short, since its bytes are bounded too
		}
		// Under the lock, so that what comes to wait above a hole after this look starts a filling of its own. What came
		// since the read may stand above a hole that the read could not see yet.
		r.mu.Lock()
		again := err == nil && len(r.log.waiting) > waiting && h.ctx.Err() == nil
		r.filling = again
		r.mu.Unlock()
		if !again {
			return err
		}
	}
}

// catchUp reads what is committed up to at least seq, if there is so much, and returns the head.
func (h *hub) catchUp(ctx context.Context, r *room, seq int64) (head int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	for {
		head, _ = r.marks()
		if head >= seq {
			return head, nil
		}
		evs, err := h.reader.after(ctx, r.name, head, fillPage)
		if err != nil || len(evs) == 0 {
			return head, err
		}
		if moved, _ := h.grow(r, evs...); moved {
			r.wake()
		}
	}
}

// run repairs and forgets until ctx ends, then waits for the fills.
func (h *hub) run(ctx context.Context) {
	defer h.fills.Wait()
	t := time.NewTicker(repairEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			h.evict(now)
			h.repair(ctx)
		}
	}
}

// active returns the loaded rooms that have readers.
func (h *hub) active() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*room
	for _, r := range h.rooms {
		select {
		case <-r.loaded:
		default:
			continue
		}
		r.mu.Lock()
		if r.readers > 0 {
			out = append(out, r)
		}
		r.mu.Unlock()
	}
	return out
}

// repair compares the active rooms with the database: the fan-out is best effort, and the last event of a quiet room
// leaves no hole that would tell.
func (h *hub) repair(ctx context.Context) {
	active := h.active()
	if len(active) == 0 || mutant.FanoutNotRepaired {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	names := make([]string, 0, len(active))
	for _, r := range active {
		names = append(names, r.name)
	}
	heads, err := h.reader.store.Heads(ctx, names)
	if err != nil {
		h.log.WarnContext(ctx, "heads not compared", "error", err)
		return
	}
	behind := names[:0]
	for _, r := range active {
		head, stored := r.marks()
		if heads[r.name] > head {
			h.fill(r, 0)
		}
		if stored < head {
			behind = append(behind, r.name)
		}
	}
	if len(behind) == 0 {
		return
	}
	marks, err := h.reader.history.Watermarks(ctx, behind)
	if err != nil {
		h.log.WarnContext(ctx, "stored marks not compared", "error", err)
		return
	}
	h.marked(marks)
}

// setStored takes marks of the persister.
func (h *hub) setStored(marks map[string]int64) {
	for name, seq := range marks {
		if r := h.get(name); r != nil {
			r.setStored(seq)
		}
	}
}

// evict forgets rooms that nobody read for the time that events are kept, and events that are older than that.
func (h *hub) evict(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, r := range h.rooms {
		r.mu.Lock()
		if r.readers == 0 && now.Sub(r.idle) > h.limits.ttl {
			delete(h.rooms, name)
			r.log.limits = logLimits{} // what is still added to it is not kept
		}
		r.log.trim(now, r.log.limits.ttl)
		r.forgetLocked()
		r.mu.Unlock()
	}
}
