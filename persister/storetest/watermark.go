package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
)

// contiguous inserts a room in random order and parts, and knows at each moment where the first hole is.
func contiguous(t *testing.T, db Database) {
	const n = 400
	s := db.Open(t)
	if got := mark(t, s, "nobody"); got != 0 {
		t.Errorf("watermark of an unknown room is %d, want 0", got)
	}
	mustInsert(t, s, []events.MessageSent{Event("edge", math.MaxInt64)})
	if got := mark(t, s, "edge"); got != 0 {
		t.Errorf("watermark below a hole is %d, want 0", got)
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	evs := Events("ops", 1, n)
	rnd.Shuffle(n, func(i, j int) { evs[i], evs[j] = evs[j], evs[i] })
	there := map[int64]bool{}
	want, last := int64(0), int64(0)
	for len(evs) > 0 {
		part := min(len(evs), 1+rnd.IntN(30))
		mustInsert(t, s, evs[:part])
		for _, e := range evs[:part] {
			there[e.Seq] = true
		}
		evs = evs[part:]
		for there[want+1] {
			want++
		}
		got := mark(t, s, "ops")
		if got != want {
			t.Fatalf("watermark is %d, want %d", got, want)
		}
		if got < last {
			t.Fatalf("watermark fell from %d to %d", last, got)
		}
		last = got
	}
	if last != n {
		t.Errorf("watermark is %d at the end, want %d", last, n)
	}
}

// twoWriters store the odd and the even seqs at the same time, in tiny batches, each looking for the watermark after each
// of its commits. No look may pass a hole, and the last one of all must find the head.
func twoWriters(t *testing.T, db Database) {
	const head = 200
	start := make(chan struct{})
	type look struct {
		mark int64
		err  error
	}
	looks := make(chan look)
	for w := range int64(2) {
		s := db.Open(t)
		go func() {
			<-start
			var last look
			defer func() { looks <- last }()
			for seq := 1 + w; seq <= head; seq += 2 * 3 {
				var evs []events.MessageSent
				for k := seq; k <= head && k < seq+6; k += 2 {
					evs = append(evs, Event("ops", k))
				}
				if last.err = joined(s.Insert(context.Background(), evs)); last.err != nil {
					return
				}
				marks, err := s.AdvanceWatermarks(context.Background(), []string{"ops"})
				if last = (look{marks["ops"], err}); err != nil {
					return
				}
				if last.err = dense(s, "ops", last.mark); last.err != nil {
					return
				}
			}
		}()
	}
	close(start)
	var highest int64
	for range 2 {
		l := <-looks
		if l.err != nil {
			t.Error(l.err)
		}
		highest = max(highest, l.mark)
	}
	if highest != head {
		t.Errorf("the last looks found %d, want %d", highest, head)
	}
}

// dense proves with a page that everything up to mark is there.
func dense(s persister.Store, room string, mark int64) error {
	if mark == 0 {
		return nil // a page has at least one event if the other writer has stored it meanwhile
	}
	p, err := s.Page(context.Background(), persister.PageQuery{Room: room, After: 0, Limit: int(mark), MaxBytes: math.MaxInt32})
	if err != nil {
		return err
	}
	if int64(len(p.Events)) != mark || p.Watermark < mark {
		return fmt.Errorf("watermark %d, but a page has %d events under a watermark of %d", mark, len(p.Events), p.Watermark)
	}
	for i, e := range p.Events {
		if e.Seq != int64(i+1) {
			return fmt.Errorf("event %d of the page has seq %d", i, e.Seq)
		}
	}
	return nil
}

func longRoom(t *testing.T, db Database) {
	const head = 10_200 // more than a statement looks at
	s := db.Open(t)
	for first := int64(1); first <= head; first += 5100 {
		mustInsert(t, s, Events("long", first, first+5099))
	}
	mustInsert(t, s, Events("long", head+2, head+10)) // above a hole
	if got := mark(t, s, "long"); got != head {
		t.Errorf("watermark is %d, want %d", got, head)
	}
	mustInsert(t, s, Events("long", head+1, head+1))
	if got := mark(t, s, "long"); got != head+10 {
		t.Errorf("watermark is %d, want %d", got, head+10)
	}
}

// manyRooms has more rooms than one statement takes, of lengths around the step that they share.
func manyRooms(t *testing.T, db Database) {
	s := db.Open(t)
	var evs []events.MessageSent
	var rooms []string
	want := map[string]int64{}
	for i := range 520 {
		room := fmt.Sprintf("room%d", i)
		length := int64(i % 25)
		evs = append(evs, Events(room, 1, length)...)
		rooms = append(rooms, room, room) // asked for twice
		want[room] = length
	}
	mustInsert(t, s, evs)
	got, err := s.AdvanceWatermarks(context.Background(), rooms)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d watermarks, want %d", len(got), len(want))
	}
	for room, seq := range want {
		if got[room] != seq {
			t.Errorf("watermark of %s is %d, want %d", room, got[room], seq)
		}
	}
}
