package persister_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// heard records announcements and when they came.
type heard struct {
	mu    sync.Mutex
	at    []time.Time             // guarded by mu
	marks []events.MessagesStored // guarded by mu
	err   error                   // guarded by mu; answered instead of listening
}

func (h *heard) announce(_ context.Context, m events.MessagesStored) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	h.at, h.marks = append(h.at, time.Now()), append(h.marks, m)
	return nil
}

func (h *heard) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// last is the highest announcement of a room, and how many there were of any.
func (h *heard) last(room string) (mark int64, count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.marks {
		mark = max(mark, m.Rooms[room])
	}
	return mark, len(h.marks)
}

// through waits, in real time, until a room was announced up to a mark.
func (h *heard) through(tb testing.TB, room string, mark int64) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		last, _ := h.last(room)
		if last == mark {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: announced %d, want %d", room, last, mark)
		}
	}
}

func TestAnnouncementsAreCoalesced(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 201))
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := persister.New(persister.Options{Store: &memory{}, Announce: h.announce, Logger: quiet()})
		stop := running(t, p)
		start := time.Now()
		for i := range 200 { // an event each 5 ms, for a second
			if err := errors.Join(p.Handle(t.Context(), raw[i:i+1])...); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Millisecond)
		}
		pass(time.Second)
		mark, count := h.last("ops")
		if mark != 200 {
			t.Errorf("announced %d, want 200", mark)
		}
		if count < 10 || count > 11 {
			t.Errorf("%d announcements in a second, want one each 100 ms", count)
		}
		if d := h.at[0].Sub(start); d != 0 {
			t.Errorf("first announcement after %v, want at once", d)
		}
		for i := 1; i < len(h.at); i++ {
			if d := h.at[i].Sub(h.at[i-1]); d < 100*time.Millisecond {
				t.Errorf("announcement %d came %v after the one before", i, d)
			}
		}
		// Idle since a second: at once again.
		now := time.Now()
		if err := errors.Join(p.Handle(t.Context(), raw[200:])...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if mark, _ := h.last("ops"); mark != 201 || !h.at[len(h.at)-1].Equal(now) {
			t.Errorf("after a pause: announced %d %v later, want 201 at once", mark, h.at[len(h.at)-1].Sub(now))
		}
		stop()
	})
}

func TestFailedAnnouncementIsTriedAgain(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 1))
	for _, what := range []string{"bus", "database"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var h heard
				var mu sync.Mutex
				broken, tries := true, 0
				s := &memory{Advance: func([]string) error {
					mu.Lock()
					defer mu.Unlock()
					tries++
					if broken && what == "database" {
						return errors.New("database is away")
					}
					return nil
				}}
				if what == "bus" {
					h.fail(errors.New("bus is away"))
				}
				p := persister.New(persister.Options{Store: s, Announce: h.announce, Logger: quiet()})
				stop := running(t, p)
				if err := errors.Join(p.Handle(t.Context(), raw)...); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				mu.Lock()
				broken = false
				if tries < 10 || tries > 25 {
					t.Errorf("%d tries in a minute, want a growing pause of 5 s at most", tries)
				}
				mu.Unlock()
				h.fail(nil)
				pass(5 * time.Second)
				if mark, count := h.last("ops"); mark != 1 || count != 1 {
					t.Errorf("announced %d, %d times; want 1, once", mark, count)
				}
				stop()
			})
		})
	}
}

// A redelivered event means that somebody has not heard.
func TestRedeliveredEventIsAnnouncedAgain(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 1))
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := persister.New(persister.Options{Store: &memory{}, Announce: h.announce, Logger: quiet()})
		stop := running(t, p)
		defer stop()
		for range 2 {
			if err := errors.Join(p.Handle(t.Context(), raw)...); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		if mark, count := h.last("ops"); mark != 1 || count != 2 {
			t.Errorf("announced %d, %d times; want 1, twice", mark, count)
		}
	})
}

// What is above a hole is not announced; what has no mark at all makes no announcement.
func TestNothingIsAnnouncedAboveAHole(t *testing.T) {
	t.Parallel()
	raw := encoded(t, append(storetest.Events("ops", 1, 3), storetest.Events("ops", 5, 9)...))
	start := encoded(t, storetest.Events("late", 2, 4))
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := persister.New(persister.Options{Store: &memory{}, Announce: h.announce, Logger: quiet()})
		stop := running(t, p)
		if err := errors.Join(p.Handle(t.Context(), start)...); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if _, count := h.last("late"); count != 0 {
			t.Errorf("%d announcements of nothing", count)
		}
		if err := errors.Join(p.Handle(t.Context(), raw)...); err != nil {
			t.Fatal(err)
		}
		stop()
		if mark, _ := h.last("ops"); mark != 3 {
			t.Errorf("announced %d, want 3", mark)
		}
	})
}

func TestManyRoomsAreAnnouncedInParts(t *testing.T) {
	t.Parallel()
	var evs []events.MessageSent
	for i := range 1200 {
		evs = append(evs, storetest.Event(fmt.Sprintf("room%d", i), 1))
	}
	raw := encoded(t, evs)
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := persister.New(persister.Options{Store: &memory{}, Announce: h.announce, Logger: quiet(), MaxEvents: 5000})
		stop := running(t, p)
		if err := errors.Join(p.Handle(t.Context(), raw)...); err != nil {
			t.Fatal(err)
		}
		stop()
		rooms := map[string]bool{}
		for _, m := range h.marks {
			if len(m.Rooms) > 500 {
				t.Errorf("%d rooms in one announcement", len(m.Rooms))
			}
			for room := range m.Rooms {
				rooms[room] = true
			}
		}
		if len(rooms) != 1200 {
			t.Errorf("%d rooms announced, want 1200", len(rooms))
		}
	})
}
