package bustest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/outbox"
)

func batches(t *testing.T, e Env) {
	sub := e.Transport.EventsSubscriber(1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	msgs, err := sub.Subscribe(ctx, "any")
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	src := NewSource(1)
	Relay(t, e.Transport, src)
	rows := Rows(t, "busy", 1, 300)
	broken := []byte("{broken")
	rows[279].Payload = broken
	quiet := Rows(t, "quiet", 1, 2)
	src.Windows <- outbox.Window{Rows: append(append(slices.Clone(rows[:100]), quiet...), rows[100:]...)}

	var seqs []int64
	sizes := make(map[string]int) // by message id
	for len(seqs) < 299 {
		m := Await(t, "message", msgs)
		if string(m.Payload) == string(broken) {
			sizes[m.UUID] = 1
			m.Ack()
			continue
		}
		parts, err := events.Split(m.Metadata["content_type"], m.Payload)
		if err != nil {
			t.Fatalf("split: %v", err)
		}
		sizes[m.UUID] = len(parts)
		for _, p := range parts {
			if ms := bodyOf(t, p); ms.Room == "busy" {
				seqs = append(seqs, ms.Seq)
				if got, want := m.Metadata["routing_key"], events.MessageSentKey(events.Shard("busy")); got != want {
					t.Errorf("routing key: got %s, want %s", got, want)
				}
			}
		}
		if got, want := m.Metadata["type"], events.TypeMessageSent; got != want {
			t.Errorf("type: got %s, want %s", got, want)
		}
		m.Ack()
	}
	for len(sizes) < 5 {
		m := Await(t, "message", msgs)
		parts, err := events.Split(m.Metadata["content_type"], m.Payload)
		if err != nil {
			t.Fatalf("split: %v", err)
		}
		sizes[m.UUID] = len(parts)
		m.Ack()
	}
	if !slices.IsSorted(seqs) {
		t.Errorf("order: got %v", seqs)
	}
	for id, want := range map[string]int{
		"busy/1": 256, "busy/257": 23, "busy/280": 1, "busy/281": 20, "quiet/1": 2,
	} {
		if got := sizes[id]; got != want {
			t.Errorf("message %s: got %d events, want %d", id, got, want)
		}
	}
	Await(t, "marked window", src.Dones)
	cancel()
	for range msgs {
	}
}

func failedWindow(t *testing.T, e Env) {
	src := NewSource(1)
	src.Windows <- window(t, 1, 100)
	// A transport that is ready and then loses what it is given.
	lossy := &lossyTransport{Transport: e.Transport, fails: 2}
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	settled := make(chan error, 3)
	o := fast()
	o.Publishing = func(rows []outbox.Row) func(error) {
		if len(rows) != 100 || rows[99].Seq != 100 {
			t.Errorf("publishing: got %d rows, want 100", len(rows))
		}
		return func(err error) { settled <- err }
	}
	Start(t, "relay", func(ctx context.Context) error { return bus.RunRelay(ctx, lossy, src, o) })
	for range 2 {
		if err := Await(t, "failure", src.Fails); !errors.Is(err, bus.ErrUnroutable) {
			t.Errorf("failure: got %v, want %v", err, bus.ErrUnroutable)
		}
		if err := Await(t, "settled window", settled); !errors.Is(err, bus.ErrUnroutable) {
			t.Errorf("settled: got %v, want %v", err, bus.ErrUnroutable)
		}
	}
	if err := Await(t, "settled window", settled); err != nil {
		t.Errorf("settled: got %v, want nil", err)
	}
	if got, want := len(Await(t, "marked window", src.Dones).Rows), 100; got != want {
		t.Errorf("rows marked: got %d, want %d", got, want)
	}
	r.await(t, 1, 100)
}

func sharedPublisher(t *testing.T, e Env) {
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	src := NewSource(1)
	stop := Relay(t, e.Transport, src)
	src.Windows <- window(t, 1, 1)
	Await(t, "marked window", src.Dones)
	stop()
	if err := Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 2))); err != nil {
		t.Errorf("publish after a router stopped: %v", err)
	}
	r.await(t, 1, 2)
}

func fanout(t *testing.T, e Env) {
	const n = 100
	got := make([]chan string, 2)
	for i := range got {
		got[i] = make(chan string, n+100)
		Start(t, "fan-out", func(ctx context.Context) error {
			return bus.RunFanout(ctx, e.Transport, "i"+strconv.Itoa(i), func(_ context.Context, env events.Envelope) {
				got[i] <- env.Subject + "/" + env.ID
			}, fast())
		})
	}
	// The readers come when they come: ask until both hear it.
	hello := MessageSent(t, "hello", 1)
	heard := make([]bool, 2)
	rabbit.Eventually(t, "both readers", func() bool {
		if err := bus.Broadcast(e.Transport, "live", hello); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
		for i := range got {
			select {
			case <-got[i]:
				heard[i] = true
			default:
			}
		}
		return heard[0] && heard[1]
	})
	var bodies [][]byte
	for seq := int64(1); seq <= n; seq++ {
		bodies = append(bodies, MessageSent(t, room, seq))
	}
	for _, part := range [][][]byte{bodies[:1], bodies[1:2], bodies[2:]} {
		if err := bus.Broadcast(e.Transport, "live", part...); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
	}
	for i := range got {
		for seq := int64(1); seq <= n; {
			id := Await(t, "fan-out event", got[i])
			if id == "hello/"+events.EventID("hello", 1) {
				continue
			}
			if want := room + "/" + events.EventID(room, seq); id != want {
				t.Fatalf("instance %d: got %s, want %s", i, id, want)
			}
			seq++
		}
	}
	if err := bus.Broadcast(e.Transport, "live"); err != nil {
		t.Errorf("broadcast of nothing: %v", err)
	}
}

func closed(t *testing.T, e Env) {
	if err := e.Transport.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := e.Transport.Ready(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("ready: got %v, want %v", err, bus.ErrClosed)
	}
	err := Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 1)))
	if !errors.Is(err, bus.ErrClosed) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrClosed)
	}
	if err := bus.Broadcast(e.Transport, "live", MessageSent(t, room, 1)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("broadcast: got %v, want %v", err, bus.ErrClosed)
	}
	err = bus.RunConsumer(t.Context(), e.Transport, newRecorder(nil).handle, fast())
	if !errors.Is(err, bus.ErrClosed) {
		t.Errorf("consumer: got %v, want %v", err, bus.ErrClosed)
	}
	if err := bus.RunRelay(t.Context(), e.Transport, NewSource(1), fast()); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("relay: got %v, want %v", err, bus.ErrClosed)
	}
}
