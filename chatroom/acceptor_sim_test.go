package chatroom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

// acceptors is two replicas' acceptors on one database, and users who send, and send again, to either. The machine's
// goroutine owns it but for what mu guards.
type acceptors struct {
	m    *storetest.Memory
	slot [2]*acceptorProcess
	sent []store.Send // each once; a retry sends one of them again

	mu       sync.Mutex // guards the fields below
	open     int        // submits without an answer
	tries    map[int]int
	accepted map[int]store.Receipt
	breaches []string
}

type acceptorProcess struct {
	link *sim.Link
	a    *acceptor
	end  func()

	shown map[string]bool // guarded by the machine's mu; events that the rooms of this replica were given
}

// answersWithin is how long a send may wait for its answer once nothing is wrong any more: the call under way, the tries
// after an outcome that is unknown, and the batch behind them.
const answersWithin = 2 * (acceptTimeout + outcomeTimeout + acceptTimeout)

func (s *acceptors) breach(format string, args ...any) {
	s.breaches = append(s.breaches, fmt.Sprintf(format, args...))
}

func (s *acceptors) start(slot int) {
	p := &acceptorProcess{link: &sim.Link{}, shown: map[string]bool{}}
	p.a = newAcceptor(wrongAccept{storetest.Remote{Store: s.m, Link: p.link}}, slog.New(slog.DiscardHandler), newMetrics(nil),
		func(sends []store.Send, receipts []store.Receipt) (wake func()) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for i, r := range receipts {
				if r.Err != nil || r.Duplicate {
					continue
				}
				if !s.committed(sends[i], r) {
					s.breach("shown before it was committed: %s as %d", sends[i].ID, r.Seq)
				}
				p.shown[events.EventID(sends[i].Room, r.Seq)] = true
			}
			return func() {}
		})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.a.run(ctx) })
	p.end = func() { cancel(); wg.Wait() }
	s.slot[slot] = p
}

func (s *acceptors) stop(slot int, kill bool) {
	if p := s.slot[slot]; p != nil {
		if kill {
			p.link.Kill()
		}
		p.link.Thaw()
		p.end()
		s.slot[slot] = nil
	}
}

// committed tells whether the database holds a send in the place that its receipt names.
func (s *acceptors) committed(in store.Send, r store.Receipt) bool {
	log := s.m.Log(in.Room)
	if r.Seq < 1 || r.Seq > int64(len(log)) {
		return false
	}
	e := log[r.Seq-1]
	return e.From == in.Sender && e.ID == in.ID && e.Text == in.Text && e.SentAt.Equal(r.SentAt)
}

// submit sends number n to a replica, and judges the answer at the moment when it comes.
func (s *acceptors) submit(p *acceptorProcess, n int, in store.Send) {
	s.mu.Lock()
	s.open++
	s.tries[n]++
	s.mu.Unlock()
	answered := false
	done := func(r store.Receipt, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if answered {
			s.breach("%s was answered twice", in.ID)
		}
		answered = true
		switch {
		case err != nil:
		case errors.Is(r.Err, store.ErrIDConflict):
			if in.Text == s.sent[n].Text {
				s.breach("%s: a retry is taken for a conflict", in.ID)
			}
		case r.Err != nil:
			s.breach("%s: %v", in.ID, r.Err)
		default:
			if !s.committed(in, r) {
				s.breach("accepted and not committed: %s as %d", in.ID, r.Seq)
			}
			if before, ok := s.accepted[n]; ok && (before.Seq != r.Seq || !before.SentAt.Equal(r.SentAt)) {
				s.breach("%s was accepted as %d and as %d", in.ID, before.Seq, r.Seq)
			}
			s.accepted[n] = r
			if r.Duplicate && s.tries[n] == 1 {
				s.breach("%s was sent once and is called a duplicate", in.ID)
			}
			if !r.Duplicate && !p.shown[events.EventID(in.Room, r.Seq)] {
				s.breach("%s was answered before the room was shown it", in.ID)
			}
		}
	}
	if err := p.a.submit(context.Background(), pending{send: in, done: done}); err != nil {
		done(store.Receipt{}, err)
	}
}

// check: what was promised holds, and the log of each room has every message once.
func (s *acceptors) check(t *rapid.T) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.breaches) > 0 {
		t.Fatal(s.breaches[0])
	}
	ids := map[string]bool{}
	for _, room := range simRooms {
		for i, e := range s.m.Log(room) {
			if key := e.From + "/" + e.ID; e.Seq != int64(i+1) || ids[key] {
				t.Fatalf("%s: event %d is %s as %d, a second time: %v", room, i+1, key, e.Seq, ids[key])
			} else {
				ids[key] = true
			}
		}
	}
}

var simRooms = []string{"ops", "dev"}

func (s *acceptors) actions() map[string]func(*rapid.T) {
	slots := rapid.IntRange(0, 1)
	living := func(t *rapid.T) *acceptorProcess {
		p := s.slot[slots.Draw(t, "replica")]
		if p == nil {
			t.Skip("no process there")
		}
		return p
	}
	return map[string]func(*rapid.T){
		"": s.check,
		"send": func(t *rapid.T) {
			p := living(t)
			for range rapid.IntRange(1, 3).Draw(t, "sends") {
				n := len(s.sent)
				s.sent = append(s.sent, store.Send{
					Sender: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "sender"), ID: fmt.Sprint("id", n),
					Room: rapid.SampledFrom(simRooms).Draw(t, "room"), Text: fmt.Sprint("text ", n),
				})
				s.submit(p, n, s.sent[n])
			}
		},
		"retry": func(t *rapid.T) {
			p := living(t)
			if len(s.sent) == 0 {
				t.Skip("nothing was sent")
			}
			n := rapid.IntRange(0, len(s.sent)-1).Draw(t, "which")
			in := s.sent[n]
			if rapid.IntRange(0, 4).Draw(t, "other text") == 4 {
				s.mu.Lock()
				_, ok := s.accepted[n]
				s.mu.Unlock()
				if !ok {
					t.Skip("another text would be the message") // and the first one the conflict
				}
				in.Text = "another text"
			}
			s.submit(p, n, in)
		},
		"fault":    func(t *rapid.T) { living(t).link.Plan("rooms/Accept", sim.Faults().Draw(t, "fault")) },
		"database": func(t *rapid.T) { living(t).link.Outage("rooms", rapid.Bool().Draw(t, "down")) },
		"slow":     func(t *rapid.T) { living(t).link.Slow("rooms", sim.Durations().Draw(t, "by")) },
		"freeze":   func(t *rapid.T) { living(t).link.Freeze() },
		"thaw":     func(t *rapid.T) { living(t).link.Thaw() },
		"end": func(t *rapid.T) {
			s.stop(slots.Draw(t, "replica"), rapid.Bool().Draw(t, "kill"))
		},
		"start": func(t *rapid.T) {
			slot := slots.Draw(t, "replica")
			s.stop(slot, true)
			s.start(slot)
		},
		"pass": func(t *rapid.T) { sim.Pass(sim.Durations().Draw(t, "for")) },
	}
}

// heal ends the faults: every send has its answer then, and one retry gets all of them accepted.
func (s *acceptors) heal(t *rapid.T) {
	for slot, p := range s.slot {
		if p == nil {
			s.start(slot)
		} else {
			p.link.Heal()
		}
	}
	sim.Pass(answersWithin)
	s.check(t)
	if s.open != 0 {
		t.Fatalf("%d sends have no answer %v after the last fault", s.open, answersWithin)
	}
	for n, in := range s.sent {
		s.submit(s.slot[n%2], n, in)
	}
	sim.Pass(time.Second)
	s.check(t)
	total := 0
	for _, room := range simRooms {
		total += len(s.m.Log(room))
	}
	if len(s.accepted) != len(s.sent) || total != len(s.sent) {
		t.Fatalf("of %d sends %d are accepted, and %d in the log", len(s.sent), len(s.accepted), total)
	}
}

// Whatever happens to the replicas and their database: accepted means committed, in one place for ever; a retry never
// makes a second message; nothing is shown before its commit; every send has one answer, soon after the last fault.
func TestSimAcceptedMeansCommittedOnce(t *testing.T) {
	t.Parallel()
	sim.Check(t, func(t *rapid.T) {
		s := &acceptors{m: storetest.NewMemory(), accepted: map[int]store.Receipt{}, tries: map[int]int{}}
		defer func() { s.stop(0, true); s.stop(1, true) }()
		s.start(0)
		t.Repeat(s.actions())
		s.heal(t)
	})
}

// The simulation can fail: a wrong model is found.
func TestSimAcceptorCatchesAWrongStore(t *testing.T) {
	t.Parallel()
	const test = "TestSimAcceptedMeansCommittedOnce"
	sim.MustCatch(t, test, "answer before commit", "before it was committed")
}

// wrongAccept is a store that is wrong in one way, where a test asks for it.
type wrongAccept struct{ storetest.Remote }

func (w wrongAccept) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	receipts, err := w.Remote.Accept(ctx, sends)
	if sim.Wrong("answer before commit") && errors.Is(err, store.ErrUnknownOutcome) {
		receipts, err = make([]store.Receipt, len(sends)), nil // it takes the lost answer for a success
	}
	return receipts, err
}
