package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/chatroom"
	roomtest "github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/outbox/outboxtest"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

func TestMain(m *testing.M) {
	sim.Bound(12, 50)
	goleak.VerifyTestMain(m)
}

const room = "ops"

// healsWithin is how long after the last fault everything is stored, announced and seen: what was published into nothing
// just now is published again after 30 s, looked at each 10 s, and readers ask each 2 s.
const healsWithin = 3 * time.Minute

// publishWithin bounds a publish, as bus.AMQPConfig does by default.
const publishWithin = 30 * time.Second

// flow is the whole way of a message, made of the real parts: two chat rooms with their relays, and a persister, as
// processes of their own on one broker and two databases. The processes come and go, the rest stays.
type flow struct {
	rooms    *roomtest.Memory
	messages *storetest.Memory
	broker   *bus.InProcess
	history  atomic.Pointer[persister.HistoryServer] // of the persister that runs; a call that was given up may still be on its way
	chat     [2]*process
	persist  *process
	clients  []*sim.Client
	sent     int
	started  int
}

type process struct {
	link   *sim.Link
	listen *sim.Listener // of a chat room
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newFlow() *flow {
	f := &flow{rooms: roomtest.NewMemory(), messages: &storetest.Memory{}, broker: bus.NewInProcess(nil)}
	truth := sim.Truth{Log: f.rooms.Log, Stored: f.messages.Watermark}
	for _, name := range []string{"ann", "bob", "eve"} {
		f.clients = append(f.clients, sim.NewClient(name, room, truth))
	}
	return f
}

func newProcess() *process {
	p := &process{link: &sim.Link{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *process) run(part func(context.Context) error) { p.wg.Go(func() { _ = part(p.ctx) }) }

// transport is the broker as a process has it. A message that it confirms and then loses is one whose broker was wiped.
func (p *process) transport(t bus.Transport) bus.Transport {
	return bustest.Faulty{
		Transport: t,
		OnEvents: func(publish func() error) error {
			// Both transports bound a publish; a call that a slow broker holds when the faults end must not outlive that.
			ctx, cancel := context.WithTimeout(p.ctx, publishWithin)
			defer cancel()
			if err := p.link.Call(ctx, "broker/Wipe", func() error { return nil }); errors.Is(err, sim.ErrRefused) || errors.Is(err, sim.ErrLost) {
				return nil
			}
			ctx, cancel = context.WithTimeout(context.WithoutCancel(p.ctx), publishWithin)
			defer cancel()
			return p.link.Call(ctx, "broker/Publish", publish)
		},
		OnFanout: func(publish func() error) error {
			if p.link.Dead() || p.link.Drop("broker/Fanout") {
				return nil
			}
			return publish()
		},
	}
}

func (f *flow) startPersister() {
	p := newProcess()
	store, t := storetest.Remote{Store: wrong{f.messages}, Link: p.link}, p.transport(f.broker)
	s := persister.New(persister.Options{
		Store: store, Logger: quiet(),
		Announce: func(_ context.Context, m events.MessagesStored) error {
			body, err := m.Encode("stored", time.Now())
			if err != nil {
				return err
			}
			return bus.Broadcast(t, "messages.stored", body)
		},
	})
	f.history.Store(persister.NewHistoryServer(store, persister.HistoryOptions{Logger: quiet()}))
	p.run(s.Run)
	p.run(func(ctx context.Context) error {
		return bus.RunConsumer(ctx, t, func(ctx context.Context, ds []bus.Delivery) []error {
			raw := make([][]byte, len(ds))
			for i, d := range ds {
				raw[i] = d.Raw
			}
			return s.Handle(ctx, raw)
		}, bus.Options{Handlers: 2, InFlight: 2})
	})
	f.persist = p
}

func (f *flow) startChat(t *rapid.T, slot int) {
	p := newProcess()
	f.started++
	instance, tr := fmt.Sprint("replica ", f.started), p.transport(f.broker)
	history := chatroom.NewGRPCHistory(direct{f, p.link})
	relay, err := outbox.NewRelay(outbox.Options{
		Store: outboxtest.Remote{Store: f.rooms.Outbox, Link: p.link}, Owner: instance, Shards: events.Shards, ShardOf: events.Shard,
		Watermarks: history.Watermarks,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := chatroom.New(context.Background(), chatroom.Options{
		Store: roomtest.Remote{Store: f.rooms, Link: p.link}, History: history, Instance: instance, RecentEvents: 8,
		Committed: relay.Offer, Heard: relay.Heard, Stored: relay.Stored,
		Broadcast: func(bodies ...[]byte) { _ = bus.Broadcast(tr, "chatroom", bodies...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.listen = sim.NewListener()
	p.run(func(ctx context.Context) error {
		return bus.RunFanout(ctx, tr, instance, func(_ context.Context, e events.Envelope) { _ = srv.HandleFanout(e) }, bus.Options{})
	})
	p.run(relay.Run)
	p.run(func(ctx context.Context) error { return bus.RunRelay(ctx, tr, relay, bus.Options{}) })
	p.run(srv.Run)
	p.wg.Go(func() { p.listen.Serve(srv.Handler()) })
	f.chat[slot] = p
}

// end ends a process, with kill so that nothing of what it still does has an effect.
func (f *flow) end(p **process, kill bool) {
	if *p == nil {
		return
	}
	if kill {
		(*p).link.Kill()
	}
	(*p).link.Thaw()
	for _, c := range f.clients { // who does not read would hold up the stop until its write times out
		c.Read(0)
	}
	(*p).cancel()
	if (*p).listen != nil {
		_ = (*p).listen.Close()
	}
	(*p).wg.Wait()
	*p = nil
}

// direct is a gRPC connection to whichever persister runs.
type direct struct {
	f    *flow
	link *sim.Link
}

func (d direct) Invoke(ctx context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	return d.link.Call(ctx, "history/Invoke", func() error {
		answer := make(chan func() error, 1)
		go func() { // the persister may be frozen for longer than the caller waits
			var resp proto.Message
			var err error
			switch r := args.(type) {
			case *historyv1.ListEventsRequest:
				resp, err = d.f.history.Load().ListEvents(ctx, r)
			case *historyv1.ListWatermarksRequest:
				resp, err = d.f.history.Load().ListWatermarks(ctx, r)
			}
			answer <- func() error {
				if err == nil {
					proto.Merge(reply.(proto.Message), resp)
				}
				return err
			}
		}()
		select {
		case take := <-answer:
			return take()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func (direct) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams here")
}

// check: what clients were told is so, and a row stays in the outbox until it is stored.
func (f *flow) check(t *rapid.T) {
	synctest.Wait()
	for _, c := range f.clients {
		c.Check(t)
	}
	held := map[int64]bool{}
	for _, r := range f.rooms.Outbox.Rows(room) {
		held[r.Seq] = true
	}
	for _, e := range f.rooms.Log(room) {
		stored, ok := f.messages.Stored(room, e.Seq)
		if !ok && !held[e.Seq] {
			t.Fatal("an accepted message is neither in the outbox nor stored")
		}
		if ok && stored != e {
			t.Fatalf("accepted %+v, stored %+v", e, stored)
		}
	}
}

func (f *flow) actions() map[string]func(*rapid.T) {
	slots, who := rapid.IntRange(0, 1), rapid.IntRange(0, 2)
	ops := rapid.SampledFrom([]string{
		"rooms/Accept", "rooms/Tail", "rooms/Heads", "outbox/Lease", "outbox/Fetch", "outbox/Oldest", "outbox/MarkPublished", "outbox/Remove",
		"outbox/Republish", "broker/Publish", "broker/Wipe", "broker/Fanout", "history/Invoke", "messages/Insert",
		"messages/AdvanceWatermarks",
	})
	services := rapid.SampledFrom([]string{"rooms", "outbox", "broker", "history", "messages"})
	living := func(t *rapid.T) *process {
		p := []*process{f.chat[0], f.chat[1], f.persist}[rapid.IntRange(0, 2).Draw(t, "process")]
		if p == nil {
			t.Skip("no process there")
		}
		return p
	}
	client := func(t *rapid.T) *sim.Client { return f.clients[who.Draw(t, "client")] }
	return sim.Often(4, map[string]func(*rapid.T){
		"": f.check,
		"connect": func(t *rapid.T) {
			if p := f.chat[slots.Draw(t, "replica")]; p != nil {
				c := client(t)
				c.Connect(p.listen)
				synctest.Wait()
				c.Join()
			}
		},
		"send": func(t *rapid.T) {
			c := client(t)
			for range rapid.SampledFrom([]int{1, 2, 5, 70}).Draw(t, "messages") {
				f.sent++
				c.Send(fmt.Sprint("id", f.sent))
			}
		},
		"cut":    func(t *rapid.T) { client(t).Cut() },
		"pause":  func(t *rapid.T) { client(t).Pause() },
		"read":   func(t *rapid.T) { client(t).Read(0) },
		"fault":  func(t *rapid.T) { living(t).link.Plan(ops.Draw(t, "op"), sim.Faults().Draw(t, "fault")) },
		"outage": func(t *rapid.T) { living(t).link.Outage(services.Draw(t, "of"), rapid.Bool().Draw(t, "down")) },
		"slow":   func(t *rapid.T) { living(t).link.Slow(services.Draw(t, "service"), sim.Durations().Draw(t, "by")) },
		"freeze": func(t *rapid.T) { living(t).link.Freeze() },
		"thaw":   func(t *rapid.T) { living(t).link.Thaw() },
		"restart chat": func(t *rapid.T) {
			slot := slots.Draw(t, "replica")
			f.end(&f.chat[slot], rapid.Bool().Draw(t, "kill"))
			f.startChat(t, slot)
		},
		"restart persister": func(t *rapid.T) {
			f.end(&f.persist, rapid.Bool().Draw(t, "kill"))
			f.startPersister()
		},
		"pass": func(t *rapid.T) { sim.Pass(sim.Durations().Draw(t, "for")) },
	}, "connect", "send", "pass")
}

// heal ends the faults: everything sent is accepted at the next try, stored, seen by all, and told to be stored.
func (f *flow) heal(t *rapid.T) {
	for _, p := range []*process{f.chat[0], f.chat[1], f.persist} {
		p.link.Heal()
	}
	sim.Pass(time.Minute)
	for i, c := range f.clients {
		c.Connect(f.chat[i%2].listen)
		sim.Pass(time.Second)
		c.Join()
		sim.Pass(time.Second)
		for _, id := range c.Unaccepted() {
			c.Send(id)
		}
	}
	sim.Pass(healsWithin)
	f.check(t)
	head := int64(len(f.rooms.Log(room)))
	if st, err := f.rooms.Outbox.Stats(t.Context()); err != nil || st.Unstored != 0 {
		t.Logf("outbox at rest: got %+v, %v", st, err)
		t.Fatal("soon after the last fault the outbox is empty")
	}
	for i, c := range f.clients {
		if _, joined, seen, stored := c.State(); !joined || seen != head || stored != head || len(c.Unaccepted()) > 0 {
			t.Logf("client %d (joined: %v) has seen %d of %d, %d stored; not accepted: %v", i, joined, seen, head, stored, c.Unaccepted())
			t.Fatal("soon after the last fault everything is accepted, seen and told to be stored")
		}
	}
}

// wrong is a database that is wrong where a test of the simulation wants it to be.
type wrong struct{ persister.Store }

func (w wrong) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	if !sim.Wrong("an insert is confirmed and lost") {
		return w.Store.Insert(ctx, evs)
	}
	kept := slices.DeleteFunc(slices.Clone(evs), func(e events.MessageSent) bool { return e.Seq == 3 })
	_, err := w.Store.Insert(ctx, kept)
	return make([]error, len(evs)), err
}

func (w wrong) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	marks, err := w.Store.AdvanceWatermarks(ctx, rooms)
	for r := range marks {
		if sim.Wrong("a mark is above what is stored") {
			marks[r]++
		}
	}
	return marks, err
}

// The simulation can fail: each wrong model is found.
func TestSimWholeWayCatchesWrongModels(t *testing.T) {
	t.Parallel()
	const test = "TestSimNothingAcceptedIsLostDoubledOrReordered"
	sim.MustCatch(t, test, "an insert is confirmed and lost", "the outbox is empty")
	sim.MustCatch(t, test, "a mark is above what is stored", "[rapid] f") // which promise breaks first depends on the run
}

// The whole way of a message, through whatever happens: nothing accepted is lost, doubled or reordered, for any reader, and
// when the faults are over everything is stored and everybody knows.
func TestSimNothingAcceptedIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	sim.Check(t, func(t *rapid.T) {
		f := newFlow()
		defer func() {
			for _, c := range f.clients {
				c.Wait()
			}
			f.end(&f.chat[0], true)
			f.end(&f.chat[1], true)
			f.end(&f.persist, true)
			_ = f.broker.Close()
		}()
		f.startPersister()
		for slot := range f.chat {
			f.startChat(t, slot)
		}
		for i, c := range f.clients {
			c.Connect(f.chat[i%2].listen)
		}
		synctest.Wait()
		for _, c := range f.clients {
			c.Join()
		}
		t.Repeat(f.actions())
		f.heal(t)
	})
}
