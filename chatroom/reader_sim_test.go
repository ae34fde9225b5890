package chatroom

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

const simRoom = "ops"

// headWithin is how long after the last fault every reader is at the head: a call under way (5 s), the next look for what
// the fan-out lost, and a catching up that waits for its next try.
const headWithin = 30 * time.Second

// replicas is two chat rooms on one database, a persister that stores when it is told to, and clients. The machine's
// goroutine owns it but for what mu guards.
type replicas struct {
	m       *storetest.Memory
	history *simHistory
	slot    [2]*replicaProcess
	clients []*sim.Client
	sent    int
	started int

	mu    sync.Mutex // guards the field below
	inbox [2][][]byte
}

type replicaProcess struct {
	link   *sim.Link
	srv    *Server
	listen *sim.Listener
	end    func()
}

func newReplicas() *replicas {
	s := &replicas{m: storetest.NewMemory(), history: &simHistory{evs: map[int64]events.MessageSent{}}}
	truth := sim.Truth{Log: s.m.Log, Stored: s.history.watermark}
	for _, name := range []string{"ann", "bob", "eve"} {
		s.clients = append(s.clients, sim.NewClient(name, simRoom, truth))
	}
	return s
}

func (s *replicas) start(t *rapid.T, slot int) {
	s.started++
	p := &replicaProcess{link: &sim.Link{}, listen: sim.NewListener()}
	srv, err := New(context.Background(), Options{
		Store: storetest.Remote{Store: s.m, Link: p.link}, History: remoteHistory{s.history, p.link},
		Instance: fmt.Sprint("replica ", s.started), RecentEvents: 8, RecentTotal: 600,
		Broadcast: func(bodies ...[]byte) {
			if sim.Wrong("fan-out tells another text") {
				for i, b := range bodies {
					bodies[i] = bytes.ReplaceAll(b, []byte("text of"), []byte("tax on"))
				}
			}
			s.post(1-slot, bodies...)
		},
		Stored: func(marks map[string]int64) { // as the relay does
			if sim.Wrong("outbox gives up too much") {
				marks = map[string]int64{simRoom: marks[simRoom] + 1}
			}
			_, _ = s.m.Outbox.Remove(context.Background(), marks)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.srv = srv
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Run(ctx) })
	wg.Go(func() { p.listen.Serve(srv.Handler()) })
	p.end = func() { cancel(); _ = p.listen.Close(); wg.Wait() }
	s.slot[slot] = p
}

func (s *replicas) stop(slot int, kill bool) {
	if p := s.slot[slot]; p != nil {
		if kill {
			p.link.Kill()
		}
		p.link.Thaw()
		for _, c := range s.clients { // who does not read would hold up the stop until its write times out
			c.Read(0)
		}
		p.end()
		s.slot[slot] = nil
	}
}

// post puts fan-out messages before a replica. One that is not there gets nothing.
func (s *replicas) post(slot int, bodies ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox[slot] = append(s.inbox[slot], bodies...)
}

// fanout delivers a message of an inbox, and says whether there was one.
func (s *replicas) fanout(t *rapid.T, slot, at int, again bool) bool {
	s.mu.Lock()
	if at >= len(s.inbox[slot]) {
		s.mu.Unlock()
		return false
	}
	body := s.inbox[slot][at]
	if !again {
		s.inbox[slot] = slices.Delete(s.inbox[slot], at, at+1)
	}
	s.mu.Unlock()
	if p := s.slot[slot]; p != nil {
		e, err := events.Decode(body)
		if err == nil {
			err = p.srv.HandleFanout(e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return true
}

func (s *replicas) announce(t *rapid.T) {
	mark := s.history.watermark(simRoom)
	if mark == 0 {
		return
	}
	body, err := events.MessagesStored{Rooms: map[string]int64{simRoom: mark}}.Encode("stored", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.post(0, body)
	s.post(1, body)
}

// persist stores the event at a place of the outbox, and says whether there was one.
func (s *replicas) persist(at int) bool {
	rows := s.m.Outbox.Rows(simRoom)
	if at >= len(rows) {
		return false
	}
	s.history.store(s.m.Log(simRoom)[rows[at].Seq-1])
	return true
}

func (s *replicas) check(t *rapid.T) {
	synctest.Wait()
	for _, c := range s.clients {
		c.Check(t)
	}
}

func (s *replicas) actions() map[string]func(*rapid.T) {
	slots, who := rapid.IntRange(0, 1), rapid.IntRange(0, 2)
	ops := rapid.SampledFrom([]string{
		"rooms/OpenRoom", "rooms/Heads", "rooms/Accept", "rooms/Tail", "history/Page", "history/Watermarks",
	})
	services := rapid.SampledFrom([]string{"rooms", "history"})
	living := func(t *rapid.T) *replicaProcess {
		p := s.slot[slots.Draw(t, "replica")]
		if p == nil {
			t.Skip("no process there")
		}
		return p
	}
	client := func(t *rapid.T) *sim.Client { return s.clients[who.Draw(t, "client")] }
	return sim.Often(4, map[string]func(*rapid.T){
		"": s.check,
		"connect": func(t *rapid.T) {
			p, c := living(t), client(t)
			c.Connect(p.listen)
			synctest.Wait()
			c.Join()
		},
		"join":      func(t *rapid.T) { client(t).Join() },
		"join anew": func(t *rapid.T) { client(t).JoinAnew() },
		"leave":     func(t *rapid.T) { client(t).Leave() },
		"cut":       func(t *rapid.T) { client(t).Cut() },
		"pause":     func(t *rapid.T) { client(t).Pause() },
		"read": func(t *rapid.T) {
			client(t).Read(rapid.SampledFrom([]time.Duration{0, time.Second, 6 * time.Second}).Draw(t, "every"))
		},
		"send": func(t *rapid.T) {
			c := client(t)
			for range rapid.SampledFrom([]int{1, 2, 5, 70, 300}).Draw(t, "messages") {
				s.sent++
				c.Send(fmt.Sprint("id", s.sent))
			}
		},
		"retry": func(t *rapid.T) {
			if s.sent > 0 {
				client(t).Send(fmt.Sprint("id", rapid.IntRange(1, s.sent).Draw(t, "which")))
			}
		},
		"fanout": func(t *rapid.T) {
			slot := slots.Draw(t, "replica")
			for range rapid.IntRange(1, 6).Draw(t, "messages") {
				s.fanout(t, slot, rapid.IntRange(0, 3).Draw(t, "out of order by"), rapid.Bool().Draw(t, "again"))
			}
		},
		"lose the fanout": func(t *rapid.T) {
			slot := slots.Draw(t, "replica")
			s.mu.Lock()
			defer s.mu.Unlock()
			s.inbox[slot] = nil
		},
		"persist": func(t *rapid.T) {
			for range rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "events") {
				s.persist(rapid.IntRange(0, 2).Draw(t, "out of order by"))
			}
		},
		"announce": s.announce,
		"fault":    func(t *rapid.T) { living(t).link.Plan(ops.Draw(t, "op"), sim.Faults().Draw(t, "fault")) },
		"outage":   func(t *rapid.T) { living(t).link.Outage(services.Draw(t, "of"), rapid.Bool().Draw(t, "down")) },
		"slow":     func(t *rapid.T) { living(t).link.Slow(services.Draw(t, "service"), sim.Durations().Draw(t, "by")) },
		"freeze":   func(t *rapid.T) { living(t).link.Freeze() },
		"thaw":     func(t *rapid.T) { living(t).link.Thaw() },
		"end":      func(t *rapid.T) { s.stop(slots.Draw(t, "replica"), rapid.Bool().Draw(t, "kill")) },
		"start": func(t *rapid.T) {
			slot := slots.Draw(t, "replica")
			s.stop(slot, true)
			s.start(t, slot)
		},
		"pass": func(t *rapid.T) { sim.Pass(sim.Durations().Draw(t, "for")) },
	}, "send", "pass", "connect", "persist", "announce", "fanout")
}

// heal ends the faults. Readers that are still joined come to the head by themselves, also when the fan-out and the
// announcements stay lost; the others join again, after what they have seen, and then all have seen everything.
func (s *replicas) heal(t *rapid.T) {
	fanout := rapid.Bool().Draw(t, "fan-out at last")
	for slot, p := range s.slot {
		if p == nil {
			s.start(t, slot)
		} else {
			p.link.Heal()
		}
	}
	for _, c := range s.clients {
		c.Read(0)
	}
	for range int(headWithin / time.Second) {
		for slot := range s.slot {
			for fanout && s.fanout(t, slot, 0, false) {
			}
		}
		sim.Pass(time.Second)
		s.check(t)
	}
	s.atHead(t, "still joined", false)
	for i, c := range s.clients {
		if _, joined, _, _ := c.State(); !joined {
			c.Connect(s.slot[i%2].listen)
			sim.Pass(time.Millisecond)
			c.Join()
		}
	}
	sim.Pass(headWithin)
	s.check(t)
	s.atHead(t, "joined again", true)
	s.fillHole(t)
	for s.persist(0) { // the announcement takes the rows away, unless a wrong model lost what stands before them
		n, err := s.m.Outbox.Remove(t.Context(), map[string]int64{simRoom: s.history.watermark(simRoom)})
		if err != nil || n == 0 {
			t.Logf("nothing is stored without a gap up to the lowest row of the outbox: %v", err)
			t.Fatal("what leaves the outbox is stored")
		}
	}
	sim.Pass(headWithin)
	s.check(t)
	s.atHead(t, "with all stored", true)
	for i, c := range s.clients {
		if _, _, seen, stored := c.State(); stored != seen {
			t.Logf("client %d is told that %d of %d is stored", i, stored, seen)
			t.Fatal("every reader is told in the end that all is stored")
		}
	}
}

// fillHole loses the first of two events on their way to the other replica. Its readers need not wait for the next look at
// the heads.
func (s *replicas) fillHole(t *rapid.T) {
	for range 15 { // until the replicas know of each other
		for slot := range s.slot {
			for s.fanout(t, slot, 0, false) {
			}
		}
		sim.Pass(time.Second)
	}
	for i := range 2 {
		s.clients[0].Send(fmt.Sprint("hole ", i))
		sim.Pass(10 * time.Millisecond)
	}
	for slot := range s.slot {
		for lost := false; ; {
			s.mu.Lock()
			var e events.Envelope
			if len(s.inbox[slot]) > 0 {
				e, _ = events.Decode(s.inbox[slot][0])
			}
			if !lost && e.Type == events.TypeMessageSent {
				s.inbox[slot], lost = s.inbox[slot][1:], true
				s.mu.Unlock()
				continue
			}
			s.mu.Unlock()
			if !s.fanout(t, slot, 0, false) {
				break
			}
		}
	}
	sim.Pass(20 * holePatience)
	s.check(t)
	s.atHead(t, "with a hole", true)
}

func (s *replicas) atHead(t *rapid.T, when string, all bool) {
	head := int64(len(s.m.Log(simRoom)))
	for i, c := range s.clients {
		if _, joined, seen, _ := c.State(); joined && seen != head || all && !joined {
			t.Logf("%s: client %d (joined: %v) has seen %d of %d", when, i, joined, seen, head)
			t.Fatal("every reader is at the head soon after the last fault")
		}
	}
}

// Whatever happens to the replicas, their databases, the fan-out and the connections: each reader sees every seq once, in
// order, without a gap from where it joined, is told nothing that is not so, and is at the head soon after the last fault.
func TestSimReadersSeeEverySeqOnceInOrder(t *testing.T) {
	t.Parallel()
	sim.Check(t, func(t *rapid.T) {
		s := newReplicas()
		defer func() {
			for _, c := range s.clients {
				c.Wait()
			}
			s.stop(0, true)
			s.stop(1, true)
		}()
		for slot := range s.slot {
			s.start(t, slot)
		}
		for i, c := range s.clients {
			c.Connect(s.slot[i%2].listen)
		}
		synctest.Wait()
		for _, c := range s.clients {
			c.Join()
		}
		t.Repeat(s.actions())
		s.heal(t)
	})
}

// The simulation can fail: each wrong model is found.
func TestSimReadersCatchWrongModels(t *testing.T) {
	t.Parallel()
	const test = "TestSimReadersSeeEverySeqOnceInOrder"
	sim.MustCatch(t, test, "outbox gives up too much", "[rapid] f") // which promise breaks first depends on the run
	sim.MustCatch(t, test, "fan-out tells another text", "[rapid] f")
}
