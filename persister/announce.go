package persister

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

const (
	announceRooms   = 500              // rooms in one announcement
	announceTimeout = 10 * time.Second // of one round; progress in the database is kept
	farewellTimeout = 2 * time.Second  // of the last round, when stopping
	maxBackoff      = 5 * time.Second
)

// announcer tells how far the rooms are stored that something was committed to. It judges by what is committed in the
// database, whoever committed it; only the rows of this process's own commits it need not read again. Of two persisters that store the two sides of a hole, the one that looks last looks
// after both commits, so the last announcement is the right one.
//
// A room is announced after every insert into it, also when its mark did not move: who sends an event again has not
// heard that it is stored.
type announcer struct {
	// Immutable.
	store    Store
	announce func(context.Context, events.MessagesStored) error
	every    time.Duration
	watchers *watchers
	log      *slog.Logger

	wake chan struct{} // holds one

	mu    sync.Mutex
	dirty map[string]struct{} // guarded by mu; rooms that wait for the next round
}

// stored never blocks.
func (a *announcer) stored(rooms map[string]struct{}) {
	if len(rooms) == 0 {
		return
	}
	a.mu.Lock()
	maps.Copy(a.dirty, rooms)
	a.mu.Unlock()
	a.nudge()
}

// run announces at once after a pause of a.every without announcements, otherwise when that has passed since the last
// one. When ctx is done it announces what is left.
func (a *announcer) run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	backoff := a.every
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			a.farewell(ctx)
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			a.farewell(ctx)
			return
		}
		if err := a.round(ctx, announceTimeout); err != nil {
			if ctx.Err() == nil {
				a.log.Warn("announcement failed; it will be tried again", "error", err, "pause", backoff)
			}
			pause.Reset(backoff)
			backoff = min(2*backoff, maxBackoff)
			a.nudge()
			continue
		}
		backoff = a.every
		pause.Reset(a.every)
	}
}

func (a *announcer) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *announcer) farewell(ctx context.Context) {
	if err := a.round(context.WithoutCancel(ctx), farewellTimeout); err != nil {
		a.log.Warn("last announcement failed; the chat room will ask for the watermarks", "error", err)
	}
}

// round announces all dirty rooms, in parts. Rooms whose part failed stay dirty.
func (a *announcer) round(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a.mu.Lock()
	dirty := a.dirty
	a.dirty = map[string]struct{}{}
	a.mu.Unlock()

	for part := range slices.Chunk(slices.Collect(maps.Keys(dirty)), announceRooms) {
		if err := a.tell(ctx, part); err != nil {
			a.mu.Lock()
			maps.Copy(a.dirty, dirty)
			a.mu.Unlock()
			return err
		}
		for _, room := range part {
			delete(dirty, room)
		}
	}
	return nil
}

func (a *announcer) tell(ctx context.Context, rooms []string) error {
	marks, err := a.store.AdvanceWatermarks(ctx, rooms)
	if err != nil {
		return err
	}
	maps.DeleteFunc(marks, func(_ string, seq int64) bool { return seq == 0 }) // a hole at the very start
	if len(marks) == 0 {
		return nil
	}
	a.watchers.wake(marks)
	if err := a.announce(ctx, events.MessagesStored{Rooms: marks}); err != nil {
		return fmt.Errorf("announce %d rooms: %w", len(marks), err)
	}
	return nil
}

// watchers are those in this process who wait for a room's mark to move.
type watchers struct {
	mu    sync.Mutex
	rooms map[string]map[chan struct{}]struct{} // guarded by mu
}

func (w *watchers) watch(room string) (woken <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rooms[room] == nil {
		w.rooms[room] = map[chan struct{}]struct{}{}
	}
	w.rooms[room][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.rooms[room], ch)
		if len(w.rooms[room]) == 0 {
			delete(w.rooms, room)
		}
	}
}

// wake never blocks: a watcher that was not back since the last time has its wake-up still before it.
func (w *watchers) wake(marks map[string]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for room := range marks {
		for ch := range w.rooms[room] {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}
