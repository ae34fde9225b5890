package persister_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// answeredWithin is how long a delivery may wait for its answer once nothing is wrong any more: the insert under way, the
// one behind it, and the one that carried over.
const answeredWithin = 3 * 5 * time.Second

// heardWithin is how long the last announcement may wait then: a round under way, the longest pause, and the round itself.
const heardWithin = 10*time.Second + 5*time.Second + 10*time.Second

// persisters is two persisters on one database, and a queue that delivers late, out of order and again. The machine's
// goroutine owns it but for what mu guards.
type persisters struct {
	m    *storetest.Memory
	slot [2]*persisterProcess
	head map[string]int64 // events of a room so far

	mu       sync.Mutex // guards the fields below
	queue    []delivery
	open     int              // deliveries that nobody has answered
	heard    map[string]int64 // the last announcement of a room
	deaf     bool             // announcements are lost, and nobody is told
	breaches []string
}

type persisterProcess struct {
	link *sim.Link
	p    *persister.Persister
	end  func()
}

// delivery is a message of the queue with the envelopes that it holds; bad tells which can never be stored.
type delivery struct {
	raw [][]byte
	evs []events.MessageSent
	bad []bool
}

var simRooms = []string{"ops", "dev"}

func (s *persisters) start(slot int) {
	p := &persisterProcess{link: &sim.Link{}}
	p.p = persister.New(persister.Options{
		Store: wrongStore{storetest.Remote{Store: s.m, Link: p.link}}, Logger: quiet(), MaxEvents: 5,
		Announce: func(ctx context.Context, m events.MessagesStored) error {
			return p.link.Call(ctx, "broker/Announce", func() error { s.hear(m); return nil })
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.p.Run(ctx) })
	p.end = func() { cancel(); wg.Wait() }
	s.slot[slot] = p
}

func (s *persisters) stop(slot int, kill bool) {
	if p := s.slot[slot]; p != nil {
		if kill {
			p.link.Kill()
		}
		p.link.Thaw()
		p.end()
		s.slot[slot] = nil
	}
}

func (s *persisters) hear(m events.MessagesStored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for room, mark := range m.Rooms {
		if mark > s.m.Watermark(room) {
			s.breaches = append(s.breaches, fmt.Sprintf("announced %s through %d, of %d", room, mark, s.m.Watermark(room)))
		}
		if !s.deaf {
			s.heard[room] = mark
		}
	}
}

// deliver gives a message to a persister; what it could not store comes again.
func (s *persisters) deliver(p *persisterProcess, d delivery) {
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	go func() {
		// What the handler has: a try that may take 30 s.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs := p.p.Handle(ctx, d.raw)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		again := delivery{}
		for i, err := range errs {
			stored, ok := s.m.Stored(d.evs[i].Room, d.evs[i].Seq)
			switch {
			case events.IsPermanent(err) != (d.bad[i] && (err == nil || events.IsPermanent(err))):
				s.breaches = append(s.breaches, fmt.Sprintf("%s, to be refused: %v, is answered %v", events.EventID(d.evs[i].Room, d.evs[i].Seq), d.bad[i], err))
			case err == nil && (!ok || stored.Text != d.evs[i].Text):
				s.breaches = append(s.breaches, fmt.Sprintf("%s is acknowledged and not stored", events.EventID(d.evs[i].Room, d.evs[i].Seq)))
			case err != nil && !events.IsPermanent(err):
				again.raw, again.evs, again.bad = append(again.raw, d.raw[i]), append(again.evs, d.evs[i]), append(again.bad, d.bad[i])
			}
		}
		if len(again.raw) > 0 {
			s.queue = append(s.queue, again)
		}
	}()
}

func (s *persisters) check(t *rapid.T) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.breaches) > 0 {
		t.Fatal(s.breaches[0])
	}
}

// publish puts so many events of a room into the queue as one message, and maybe one that can never be stored.
func (s *persisters) publish(t *rapid.T, n int) {
	room := rapid.SampledFrom(simRooms).Draw(t, "room")
	var d delivery
	for range n {
		s.head[room]++
		e := storetest.Event(room, s.head[room])
		d.evs, d.bad = append(d.evs, e), append(d.bad, false)
	}
	switch rapid.IntRange(0, 5).Draw(t, "beside") {
	case 1:
		e := storetest.Event(room, 1<<40)
		e.Text = "\x00"
		d.evs, d.bad = append(d.evs, e), append(d.bad, true)
	case 2:
		if e, ok := s.m.Stored(room, 1); ok {
			e.Text = "another text"
			d.evs, d.bad = append([]events.MessageSent{e}, d.evs...), append([]bool{true}, d.bad...)
		}
	}
	for _, e := range d.evs {
		b, err := e.Encode("")
		if err != nil {
			t.Fatal(err)
		}
		d.raw = append(d.raw, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, d)
}

// next takes a message of the queue; again leaves it there.
func (s *persisters) next(at int, again bool) (delivery, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at >= len(s.queue) {
		return delivery{}, false
	}
	d := s.queue[at]
	if !again {
		s.queue = slices.Delete(s.queue, at, at+1)
	}
	return d, true
}

func (s *persisters) actions() map[string]func(*rapid.T) {
	slots := rapid.IntRange(0, 1)
	ops := rapid.SampledFrom([]string{"messages/Insert", "messages/AdvanceWatermarks", "broker/Announce"})
	living := func(t *rapid.T) *persisterProcess {
		p := s.slot[slots.Draw(t, "persister")]
		if p == nil {
			t.Skip("no process there")
		}
		return p
	}
	return sim.Often(3, map[string]func(*rapid.T){
		"":        s.check,
		"publish": func(t *rapid.T) { s.publish(t, rapid.IntRange(1, 7).Draw(t, "events")) },
		"deliver": func(t *rapid.T) {
			p := living(t)
			for range rapid.IntRange(1, 4).Draw(t, "messages") {
				if d, ok := s.next(rapid.IntRange(0, 3).Draw(t, "out of order by"), rapid.Bool().Draw(t, "again")); ok {
					s.deliver(p, d)
				}
			}
		},
		"deafen": func(t *rapid.T) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.deaf = rapid.Bool().Draw(t, "deaf")
		},
		"fault":  func(t *rapid.T) { living(t).link.Plan(ops.Draw(t, "op"), sim.Faults().Draw(t, "fault")) },
		"outage": func(t *rapid.T) { living(t).link.Outage("messages", rapid.Bool().Draw(t, "down")) },
		"slow":   func(t *rapid.T) { living(t).link.Slow("messages", sim.Durations().Draw(t, "by")) },
		"freeze": func(t *rapid.T) { living(t).link.Freeze() },
		"thaw":   func(t *rapid.T) { living(t).link.Thaw() },
		"end":    func(t *rapid.T) { s.stop(slots.Draw(t, "persister"), rapid.Bool().Draw(t, "kill")) },
		"start": func(t *rapid.T) {
			slot := slots.Draw(t, "persister")
			s.stop(slot, true)
			s.start(slot)
		},
		"pass": func(t *rapid.T) { sim.Pass(sim.Durations().Draw(t, "for")) },
	}, "publish", "deliver", "pass")
}

// heal ends the faults: every delivery is answered, all that was published is stored, and both is announced.
func (s *persisters) heal(t *rapid.T) {
	for slot, p := range s.slot {
		if p == nil {
			s.start(slot)
		} else {
			p.link.Heal()
		}
	}
	sim.Pass(answeredWithin + time.Minute) // a commit may be a minute late
	s.check(t)
	if s.open > 0 {
		t.Fatalf("%d deliveries have no answer %v after the last fault", s.open, answeredWithin)
	}
	s.mu.Lock()
	s.deaf = false
	clear(s.heard)
	s.mu.Unlock()
	for _, p := range s.slot { // an announcement that fails is tried again
		p.link.Plan(rapid.SampledFrom([]string{"broker/Announce", "messages/AdvanceWatermarks"}).Draw(t, "fails once"), sim.Refused)
	}
	for _, room := range simRooms { // who sends an event again has not heard that it is stored
		if s.head[room] > 0 {
			e := storetest.Event(room, s.head[room])
			b, err := e.Encode("")
			if err != nil {
				t.Fatal(err)
			}
			s.deliver(s.slot[0], delivery{raw: [][]byte{b}, evs: []events.MessageSent{e}, bad: []bool{false}})
		}
	}
	for i := 0; ; i++ {
		d, ok := s.next(0, false)
		if !ok {
			break
		}
		s.deliver(s.slot[i%2], d)
		synctest.Wait()
	}
	sim.Pass(heardWithin)
	s.check(t)
	for room, head := range s.head {
		if mark := s.m.Watermark(room); mark != head {
			t.Fatalf("%s is stored through %d of %d", room, mark, head)
		}
		for seq := int64(1); seq <= head; seq++ {
			if e, _ := s.m.Stored(room, seq); e != storetest.Event(room, seq) {
				t.Fatalf("%s/%d is stored as %+v", room, seq, e)
			}
		}
	}
	if !maps.Equal(s.heard, s.head) {
		t.Fatalf("announced last: %v, want %v", s.heard, s.head)
	}
}

// Whatever happens to the persisters, their database and the queue: what is acknowledged is stored as it was sent, what is
// refused could never be, no announcement passes a hole, and soon after the last fault everything is stored and announced.
func TestSimPersistersStoreOnceAndAnnounceTheTruth(t *testing.T) {
	t.Parallel()
	sim.Check(t, func(t *rapid.T) {
		s := &persisters{m: &storetest.Memory{}, head: map[string]int64{}, heard: map[string]int64{}}
		defer func() { s.stop(0, true); s.stop(1, true) }()
		s.start(0)
		s.start(1)
		t.Repeat(s.actions())
		s.heal(t)
	})
}

// The simulation can fail: each wrong model is found.
func TestSimPersistersCatchWrongStores(t *testing.T) {
	t.Parallel()
	const test = "TestSimPersistersStoreOnceAndAnnounceTheTruth"
	sim.MustCatch(t, test, "lost answer is success", "[rapid] f") // which promise breaks first depends on the run
	sim.MustCatch(t, test, "mark passes a hole", "announced")
}

// wrongStore is a store that is wrong in one way, where a test asks for it.
type wrongStore struct{ storetest.Remote }

func (w wrongStore) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	errs, err := w.Remote.Insert(ctx, evs)
	if sim.Wrong("lost answer is success") && err != nil {
		errs, err = make([]error, len(evs)), nil
	}
	return errs, err
}

func (w wrongStore) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	marks, err := w.Remote.AdvanceWatermarks(ctx, rooms)
	if sim.Wrong("mark passes a hole") {
		for room := range marks {
			marks[room]++
		}
	}
	return marks, err
}
