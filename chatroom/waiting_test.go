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
	if got := w.take(nil); len(got) != 0 || len(w.rooms) != 0 || !w.space.TryAcquire(waitingBytes) {
		t.Errorf("then %d sends and %d rooms are left, or some space is not free, want nothing", len(got), len(w.rooms))
	}
}

// A room where nothing waits comes after one turn of each other room, however much waits there.
func TestWaitingRoomsTakeTurns(t *testing.T) {
	t.Parallel()
	const busy, each = 40, 5 * turnCount
	w := newWaiting()
	for i := range each {
		for room := range busy {
			put(t, w, sendTo(fmt.Sprint("busy", room), i))
		}
	}
	put(t, w, sendTo("quiet", 0))
	next := make(map[string]int)
	before, found := 0, false
	for batch := w.take(nil); len(batch) > 0; batch = w.take(nil) {
		for _, p := range batch {
			if p.send.ID != fmt.Sprint(next[p.send.Room]) {
				t.Fatalf("%s of %s, want %d", p.send.ID, p.send.Room, next[p.send.Room])
			}
			next[p.send.Room]++
			if found = found || p.send.Room == "quiet"; !found {
				before++
			}
		}
	}
	if before != busy*turnCount {
		t.Errorf("%d sends went before that of the quiet room, want a turn of each other, %d", before, busy*turnCount)
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
				for !w.space.TryAcquire(waitingBytes / 2) {
					take()
				}
				w.space.Release(waitingBytes / 2)
			},
			"take": func(*rapid.T) { take() },
		})
		for came != left {
			take()
		}
		if !w.space.TryAcquire(waitingBytes) {
			t.Fatal("some space is not free")
		}
	})
}

// Who finds it full waits for space, no longer than he wants to, and not where there will be none.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting()
		large := sendTo("a", 0)
		large.send.Text = strings.Repeat("x", waitingBytes-waitingOverhead)
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
		if diff := cmp.Diff([]string{"b:1"}, taken(w.take(nil))); diff != "" {
			t.Errorf("taken then (-want +got):\n%s", diff)
		}
		put(t, w, large)
		try(t.Context())
		w.end()
		if diff := cmp.Diff([]string{"a:0"}, taken(w.take(nil))); diff != "" {
			t.Errorf("taken at the end (-want +got):\n%s", diff)
		}
		if err := <-added; !errors.Is(err, errStopping) {
			t.Errorf("who waited until the end has %v", err)
		}
		if err := w.put(t.Context(), sendTo("b", 2)); !errors.Is(err, errStopping) {
			t.Errorf("who comes after the end has %v", err)
		}
	})
}
