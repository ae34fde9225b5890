package chatroom

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// recentHub is a hub whose rooms may keep so many events together; all of logEvents(100, 999) are of one size.
func recentHub(tb testing.TB, events int) *hub {
	tb.Helper()
	limits := logLimits{count: 1000, bytes: 1 << 20, ttl: time.Hour, total: events * eventSize()}
	return newHub(tb.Context(), &reader{}, limits, newFlushers(), slog.New(slog.DiscardHandler), nil)
}

func eventSize() int { return len(frame.Encode(logEvents(100, 100)[0])) }

// hold makes the hub hold a room that starts at a head of 99.
func hold(h *hub, name string) *room {
	r := &room{name: name, flushers: h.flushers, loaded: make(chan struct{}), log: newRoomLog(h.limits, &h.kept), idle: time.Now()}
	close(r.loaded)
	r.log.start(99, nil, time.Now())
	h.rooms[name] = r
	return r
}

func TestAllRoomsTogetherKeepTheirBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := recentHub(t, 200)
		silent := hold(h, "silent")
		h.put("silent", logEvents(100, 149)...)
		time.Sleep(time.Minute)
		busy := make([]*room, 10)
		for i := range busy {
			busy[i] = hold(h, fmt.Sprint("busy ", i))
		}
		for seq := int64(100); seq < 400; seq++ {
			time.Sleep(time.Millisecond)
			kept := 0
			for _, r := range busy {
				h.put(r.name, logEvents(seq, seq)...)
				if h.kept.Load() > int64(h.limits.total) {
					t.Fatalf("%d bytes are kept, over %d", h.kept.Load(), h.limits.total)
				}
				if n := len(seqsAfter(t, &r.log, seq-1)); n != 1 || r.log.head != seq {
					t.Fatalf("room %s does not keep its newest event, %d", r.name, seq)
				}
				kept += len(r.log.entries)
			}
			if seq < 110 && len(silent.log.entries) != 50 {
				t.Fatalf("the silent room gave way before the bound, at %d", seq)
			}
			if seq > 120 && (len(silent.log.entries) > 0 || kept < 160) {
				t.Fatalf("at %d the silent room keeps %d events, the others %d", seq, len(silent.log.entries), kept)
			}
		}
		if _, ok := silent.log.read(nil, 100, 1, 1); ok || silent.log.head != 149 {
			t.Error("who needs what gave way is not sent to the databases")
		}
	})
}

// Events of one instant, too, give way.
func TestAllRoomsTogetherKeepTheirBoundAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := recentHub(t, 20)
		r := hold(h, "r")
		h.put("r", logEvents(100, 199)...)
		if h.kept.Load() > int64(h.limits.total) || r.log.head != 199 {
			t.Errorf("%d bytes are kept, over %d; head %d", h.kept.Load(), h.limits.total, r.log.head)
		}
	})
}

// A room that is forgotten takes nothing of the bound with it, even if it grows once more.
func TestAForgottenRoomKeepsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := recentHub(t, 100)
		r := hold(h, "r")
		h.put("r", logEvents(100, 150)...)
		time.Sleep(2 * time.Hour)
		h.put("r", logEvents(151, 160)...) // younger than the room's last reader
		if h.kept.Load() != int64(10*eventSize()) {
			t.Fatalf("%d bytes are kept, want those of 10 events", h.kept.Load())
		}
		h.evict(time.Now())
		if h.get("r") != nil {
			t.Fatal("the room is still held")
		}
		h.grow(r, logEvents(161, 170)...)
		if h.kept.Load() != 0 || r.log.head != 170 {
			t.Errorf("%d bytes are kept; head %d", h.kept.Load(), r.log.head)
		}
	})
}
