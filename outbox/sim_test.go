package outbox_test

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

	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
)

// healsWithin is how long after the last fault everything is stored and the outbox empty: a lease that rests (10 s), a
// row that was published into nothing just now (30 s, looked at each 10 s), and one more round for a consumer that moved.
const healsWithin = 2 * time.Minute

// relays is two relays on one outbox, a broker that loses, and a consumer that stores. The machine's goroutine owns it
// but for what mu guards.
type relays struct {
	m    *outboxtest.Memory
	slot [2]*relayProcess
	runs int // processes so far; names the owners
	head map[string]int64

	mu       sync.Mutex       // guards the fields below
	made     map[string]int64 // the highest seq of a key that is committed
	unknown  []string         // rows that were tried before they were committed
	queue    []outbox.Row     // at the broker
	reached  map[string]int64 // the highest seq of a key that has come to the broker
	disorder []string         // rows that were tried before a lower one of their key had come there
	stored   map[string]map[int64]bool
	deaf     bool // the consumer cannot be asked for its watermarks
}

type relayProcess struct {
	link  *sim.Link
	relay *outbox.Relay
	end   func()
}

var simKeys = []string{"a", "b", "c", "d"}

func newRelays() *relays {
	return &relays{
		m: outboxtest.NewMemory(), head: map[string]int64{}, made: map[string]int64{}, reached: map[string]int64{},
		stored: map[string]map[int64]bool{},
	}
}

// start runs a relay as a process of its own, and publishes what it hands out.
func (s *relays) start(t *rapid.T, slot int) {
	s.runs++
	p := &relayProcess{link: &sim.Link{}}
	r, err := outbox.NewRelay(outbox.Options{
		Store: outboxtest.Remote{Store: wrong{s.m}, Link: p.link}, Owner: fmt.Sprint("process ", s.runs), Shards: outboxtest.Shards, Window: 4,
		Watermarks: func(ctx context.Context, keys []string) (map[string]int64, error) {
			return sim.Call(ctx, p.link, "history/Watermarks", func() (map[string]int64, error) { return s.watermarks(keys) })
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.relay = r
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	wg.Go(func() {
		for {
			w, err := r.Next(ctx)
			if err != nil {
				return
			}
			if err := s.publish(ctx, p.link, w.Rows); err != nil {
				r.Failed(w, err)
			} else if r.Done(ctx, w) != nil {
				return
			}
		}
	})
	p.end = func() { cancel(); wg.Wait() }
	s.slot[slot] = p
}

func (s *relays) kill(slot int) {
	if p := s.slot[slot]; p != nil {
		p.link.Kill()
		p.end()
		s.slot[slot] = nil
	}
}

// publish is one call to the broker. Where it is refused the broker has taken a part of the window from its beginning:
// the connection was cut in the middle.
func (s *relays) publish(ctx context.Context, link *sim.Link, rows []outbox.Row) error {
	s.mu.Lock()
	before := maps.Clone(s.reached)
	for _, r := range rows {
		if last := before[r.Key]; r.Seq > last+1 {
			s.disorder = append(s.disorder, fmt.Sprintf("%s/%d after %d", r.Key, r.Seq, last))
		}
		if r.Seq > s.made[r.Key] {
			s.unknown = append(s.unknown, fmt.Sprintf("%s/%d", r.Key, r.Seq))
		}
		before[r.Key] = max(before[r.Key], r.Seq)
	}
	s.mu.Unlock()
	take := func(n int) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = append(s.queue, rows[:n]...)
		for _, r := range rows[:n] {
			s.reached[r.Key] = max(s.reached[r.Key], r.Seq)
		}
		return nil
	}
	if err := link.Call(ctx, "broker/PublishHalf", func() error { return take(len(rows) / 2) }); err != nil {
		return err
	}
	return link.Call(ctx, "broker/Publish", func() error { return take(len(rows)) })
}

// take stores a row of the queue; again leaves it there, as a delivery whose acknowledgement is lost.
func (s *relays) take(at int, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at >= len(s.queue) {
		return
	}
	r := s.queue[at]
	if s.stored[r.Key] == nil {
		s.stored[r.Key] = map[int64]bool{}
	}
	s.stored[r.Key][r.Seq] = true
	if !again {
		copy(s.queue[1:at+1], s.queue[:at]) // the few before it move, not all behind it: where marks are lost these are very many
		s.queue = s.queue[1:]
	}
}

func (s *relays) watermarks(keys []string) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return nil, sim.ErrDown
	}
	marks := map[string]int64{}
	for _, key := range keys {
		for s.stored[key][marks[key]+1] {
			marks[key]++
		}
	}
	return marks, nil
}

// announce tells a relay what is stored.
func (s *relays) announce(slot int) {
	p := s.slot[slot]
	if p == nil {
		return
	}
	if marks, err := s.watermarks(simKeys); err == nil {
		p.relay.Stored(marks)
	}
}

// check: a row stays until it is stored, and no row is published before a lower one of its key.
func (s *relays) check(t *rapid.T) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range simKeys {
		held := map[int64]bool{}
		for _, r := range s.m.Rows(key) {
			held[r.Seq] = true
		}
		for seq := int64(1); seq <= s.head[key]; seq++ {
			if !held[seq] && !s.stored[key][seq] {
				t.Fatalf("%s/%d left the outbox and is not stored", key, seq)
			}
		}
	}
	if len(s.disorder) > 0 {
		t.Fatalf("published before a lower one of its key: %v", s.disorder)
	}
	if len(s.unknown) > 0 {
		t.Fatalf("published and never committed: %v", s.unknown)
	}
}

func (s *relays) actions() map[string]func(*rapid.T) {
	slots := rapid.IntRange(0, 1)
	ops := rapid.SampledFrom([]string{
		"outbox/Lease", "outbox/Fetch", "outbox/Oldest", "outbox/MarkPublished", "outbox/Remove", "outbox/Unstored", "outbox/Republish", "outbox/Release",
		"broker/PublishHalf", "broker/Publish", "history/Watermarks",
	})
	living := func(t *rapid.T) *relayProcess {
		p := s.slot[slots.Draw(t, "slot")]
		if p == nil {
			t.Skip("no process there")
		}
		return p
	}
	return map[string]func(*rapid.T){
		"": s.check,
		"append": func(t *rapid.T) {
			key := rapid.SampledFrom(simKeys).Draw(t, "key")
			var rows []outbox.Row
			for n := range rapid.Int64Range(1, 6).Draw(t, "rows") {
				rows = append(rows, outbox.Row{Shard: outbox.ShardOf(key, outboxtest.Shards), Key: key, Seq: s.head[key] + n + 1})
			}
			by := rapid.IntRange(-1, 1).Draw(t, "by") // the process that has committed them; it may be gone by now
			if by >= 0 && s.slot[by] != nil && sim.Wrong("offer") {
				s.slot[by].relay.Offer(rows)
				synctest.Wait() // published, and then the commit fails
				return
			}
			if err := s.m.Append(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			s.head[key] += int64(len(rows))
			s.mu.Lock()
			s.made[key] = s.head[key]
			s.mu.Unlock()
			for slot, p := range s.slot { // the fan-out is best effort, and the poll finds what nobody told
				switch {
				case p == nil:
				case slot == by:
					p.relay.Offer(rows)
				case rapid.Bool().Draw(t, "heard"):
					p.relay.Heard(key, s.head[key])
				case rapid.Bool().Draw(t, "woken"):
					p.relay.Wake()
				}
			}
		},
		"deliver": func(t *rapid.T) {
			for range rapid.IntRange(1, 8).Draw(t, "rows") {
				s.take(rapid.IntRange(0, 3).Draw(t, "out of order by"), rapid.Bool().Draw(t, "again"))
			}
		},
		"announce": func(t *rapid.T) { s.announce(slots.Draw(t, "slot")) },
		"wipe the broker": func(*rapid.T) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.queue = nil
		},
		"deafen": func(t *rapid.T) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.deaf = rapid.Bool().Draw(t, "deaf")
		},
		"fault":    func(t *rapid.T) { living(t).link.Plan(ops.Draw(t, "op"), sim.Faults().Draw(t, "fault")) },
		"database": func(t *rapid.T) { living(t).link.Outage("outbox", rapid.Bool().Draw(t, "down")) },
		"broker":   func(t *rapid.T) { living(t).link.Outage("broker", rapid.Bool().Draw(t, "down")) },
		"slow":     func(t *rapid.T) { living(t).link.Slow("outbox", sim.Durations().Draw(t, "by")) },
		"freeze":   func(t *rapid.T) { living(t).link.Freeze() },
		"thaw":     func(t *rapid.T) { living(t).link.Thaw() },
		"kill":     func(t *rapid.T) { s.kill(slots.Draw(t, "slot")) },
		"start": func(t *rapid.T) {
			slot := slots.Draw(t, "slot")
			s.kill(slot)
			s.start(t, slot)
		},
		"pass": func(t *rapid.T) { sim.Pass(sim.Durations().Draw(t, "for")) },
	}
}

// heal ends the faults, and expects all to come right by itself.
func (s *relays) heal(t *rapid.T) {
	announces := rapid.Bool().Draw(t, "announces at last")
	if s.slot[0] == nil && s.slot[1] == nil {
		s.start(t, 0)
	}
	for _, p := range s.slot {
		if p != nil {
			p.link.Heal()
		}
	}
	s.mu.Lock()
	s.deaf = false
	s.mu.Unlock()
	for began := time.Now(); time.Since(began) < healsWithin; sim.Pass(time.Second) {
		for s.waiting() > 0 {
			s.take(0, false)
		}
		for slot := range s.slot {
			if announces {
				s.announce(slot)
			}
		}
		s.check(t)
	}
	want, _ := s.watermarks(simKeys)
	maps.DeleteFunc(want, func(_ string, seq int64) bool { return seq == 0 })
	if !maps.Equal(want, s.head) {
		t.Errorf("stored: got %v, want %v", want, s.head)
	}
	if st, err := s.m.Stats(t.Context()); err != nil || st.Unstored != 0 {
		t.Errorf("outbox at rest: got %+v, %v, want it empty", st, err)
	}
}

func (s *relays) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Whatever happens to the relays, their database, the broker and the consumer: no row is lost, keys keep their order, and
// when it is over everything is stored and the outbox empty, announced or not.
func TestSimRelaysLoseNothingAndKeepOrder(t *testing.T) {
	t.Parallel()
	sim.Check(t, func(t *rapid.T) {
		s := newRelays()
		defer func() { s.kill(0); s.kill(1) }()
		s.start(t, 0)
		t.Repeat(s.actions())
		s.heal(t)
	})
}

// The simulation can fail: each wrong model is found.
func TestSimRelaysCatchesWrongStores(t *testing.T) {
	t.Parallel()
	const test = "TestSimRelaysLoseNothingAndKeepOrder"
	sim.MustCatch(t, test, "order", "published before a lower one of its key")
	sim.MustCatch(t, test, "remove", "left the outbox and is not stored")
	sim.MustCatch(t, test, "sweep", "outbox at rest")
	sim.MustCatch(t, test, "offer", "published and never committed")
	sim.MustCatch(t, test, "mark", "outbox at rest")
	sim.MustCatch(t, test, "poll", "outbox at rest")
}

// wrong is a store that is wrong in one way, where a test asks for it.
type wrong struct{ outbox.Store }

func (w wrong) Fetch(ctx context.Context, shards []int, limit int) ([]outbox.Row, error) {
	rows, err := w.Store.Fetch(ctx, shards, limit)
	if sim.Wrong("order") {
		slices.Reverse(rows)
	}
	return rows, err
}

func (w wrong) Oldest(ctx context.Context, shards []int) (time.Duration, error) {
	oldest, err := w.Store.Oldest(ctx, shards)
	if sim.Wrong("poll") {
		oldest = 0
	}
	return oldest, err
}

func (w wrong) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	if sim.Wrong("remove") {
		stored = maps.Clone(stored)
		for key := range stored {
			stored[key]++
		}
	}
	return w.Store.Remove(ctx, stored)
}

func (w wrong) MarkPublished(ctx context.Context, rows []outbox.Row) error {
	if sim.Wrong("mark") {
		time.Sleep(time.Second) // the rows are published for ever; so slowly that the hours of a run are over soon
		return nil
	}
	return w.Store.MarkPublished(ctx, rows)
}

func (w wrong) Unstored(ctx context.Context, shards []int, after string, older time.Duration, limit int) ([]outbox.Lowest, error) {
	if sim.Wrong("sweep") {
		return nil, nil
	}
	return w.Store.Unstored(ctx, shards, after, older, limit)
}
