package chatroom

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
)

func sendTo(room string, id int) pending {
	return pending{send: store.Send{Room: room, ID: fmt.Sprint(id), Text: "text"}}
}

// taken tells the batch as room:id.
func taken(batch []pending) (out []string) {
	for _, p := range batch {
		out = append(out, p.send.Room+":"+p.send.ID)
	}
	return out
}

func put(t *testing.T, w *waiting, p pending) {
	t.Helper()
	if err := w.put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestWaitingLeavesByRooms(t *testing.T) {
	t.Parallel()
	w := newWaiting()
	for i, room := range []string{"a", "b", "a", "c", "b", "a"} {
		put(t, w, sendTo(room, i))
	}
	want := []string{"a:0", "a:2", "a:5", "b:1", "b:4", "c:3"}
	if diff := cmp.Diff(want, taken(w.take(nil))); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	if got := w.take(nil); len(got) != 0 || w.bytes != 0 || len(w.rooms) != 0 {
		t.Errorf("then %d sends, %d bytes and %d rooms are left, want none", len(got), w.bytes, len(w.rooms))
	}
}

// A room with a backlog of many transactions holds up no other: what comes to another room goes with the next one.
func TestWaitingRoomsTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWaiting()
	for i := range 5 * batchCount {
		put(t, w, sendTo("busy", i))
	}
	next := 0
	for turn := range 4 {
		put(t, w, sendTo("quiet", turn))
		batch := w.take(nil)
		if len(batch) != batchCount {
			t.Fatalf("took %d, want %d", len(batch), batchCount)
		}
		found := false
		for _, p := range batch {
			switch p.send.Room {
			case "quiet":
				found = true
			default:
				if p.send.ID != fmt.Sprint(next) {
					t.Fatalf("%s of the busy room, want %d", p.send.ID, next)
				}
				next++
			}
		}
		if !found {
			t.Errorf("transaction %d has nothing of the quiet room", turn)
		}
	}
}

// Whatever is put and taken, each send leaves once, in the order of its room, and no batch is too large.
func TestWaitingLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWaiting()
		var came, left [8]int
		take := func() {
			batch := w.take(nil)
			text := 0
			for _, p := range batch {
				room := int(p.send.Room[0] - 'a')
				if p.send.ID != fmt.Sprint(left[room]) {
					t.Fatalf("room %s: %s, want %d", p.send.Room, p.send.ID, left[room])
				}
				left[room]++
				text += len(p.send.Text)
			}
			if len(batch) > batchCount || text >= batchBytes+16<<10 {
				t.Fatalf("a batch of %d sends and %d bytes", len(batch), text)
			}
			select {
			case <-w.arrived:
			default:
				if came != left {
					t.Fatalf("something waits, and nobody is told: came %v, left %v", came, left)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				room := rapid.IntRange(0, len(came)-1).Draw(t, "room")
				size := rapid.SampledFrom([]int{0, 100, 16 << 10}).Draw(t, "size")
				for range rapid.SampledFrom([]int{1, 10, 200}).Draw(t, "count") {
					p := sendTo(string(rune('a'+room)), came[room])
					p.send.Text = strings.Repeat("x", size)
					if err := w.put(context.Background(), p); err != nil {
						t.Fatal(err)
					}
					came[room]++
				}
				if w.bytes > waitingBytes/2 {
					take()
				}
			},
			"take": func(*rapid.T) { take() },
		})
		for came != left {
			take()
		}
		if w.bytes != 0 {
			t.Fatalf("%d bytes are left", w.bytes)
		}
	})
}

// Who finds it full waits for space, no longer than he wants to, and not where there will be none.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting()
		large := sendTo("a", 0)
		large.send.Text = strings.Repeat("x", waitingBytes)
		put(t, w, large)
		added := make(chan error, 1)
		try := func(ctx context.Context) {
			t.Helper()
			go func() { added <- w.put(ctx, sendTo("b", 1)) }()
			synctest.Wait()
			if len(added) > 0 {
				t.Error("does not wait")
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		try(ctx)
		cancel()
		if err := <-added; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up has %v", err)
		}
		try(t.Context())
		if diff := cmp.Diff([]string{"a:0"}, taken(w.take(nil))); diff != "" {
			t.Errorf("taken (-want +got):\n%s", diff)
		}
		if err := <-added; err != nil {
			t.Errorf("who waited for space has %v", err)
		}
		put(t, w, large)
		try(t.Context())
		w.end()
		if err := <-added; !errors.Is(err, errStopping) {
			t.Errorf("who waited for the end has %v", err)
		}
		if diff := cmp.Diff([]string{"b:1", "a:0"}, taken(w.take(nil))); diff != "" {
			t.Errorf("taken at the end (-want +got):\n%s", diff)
		}
		if err := w.put(t.Context(), sendTo("b", 2)); !errors.Is(err, errStopping) {
			t.Errorf("who comes after the end has %v", err)
		}
	})
}
