package bustest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/outbox"
)

const room = "ops"

func window(t *testing.T, first, last int64) outbox.Window {
	t.Helper()
	return outbox.Window{Rows: Rows(t, room, first, last)}
}

// publish publishes bodies as they are; awaited in another goroutine, since in process it ends with the acknowledgement.
func publish(tr bus.Transport, contentType string, bodies ...[]byte) <-chan error {
	msgs := make([]*message.Message, len(bodies))
	for i, b := range bodies {
		msgs[i] = message.NewMessage("m-"+strconv.Itoa(i+1), b)
		msgs[i].Metadata["content_type"] = contentType
		msgs[i].Metadata["type"] = events.TypeMessageSent
	}
	done := make(chan error, 1)
	go func() { done <- tr.Events().Publish(events.MessageSentKey(3), msgs...) }()
	return done
}

// ready waits for the transport, and in process for its consumers.
func ready(t *testing.T, e Env) {
	t.Helper()
	rabbit.Eventually(t, "transport ready", func() bool { return e.Transport.Ready() == nil })
}

func handOver(t *testing.T, e Env) {
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	src := NewSource(10)
	Relay(t, e.Transport, src)
	for i := range int64(5) {
		src.Windows <- window(t, i*40+1, i*40+40)
	}
	r.await(t, 1, 200)
	for range 5 {
		Await(t, "marked window", src.Dones)
	}
}

func redeliveryAfterNack(t *testing.T, e Env) {
	type delivery struct {
		again       bool
		number, try int
	}
	got := make(chan delivery, 10)
	o := fast()
	o.Retries = 1
	Consume(t, e.Transport, o, func(_ context.Context, ds []bus.Delivery) []error {
		got <- delivery{ds[0].Redelivered, ds[0].Number, ds[0].Try}
		if !ds[0].Redelivered {
			return []error{errOutage}
		}
		return []error{nil}
	})
	ready(t, e)
	done := publish(e.Transport, events.ContentType, MessageSent(t, room, 1))
	for i, want := range []delivery{{false, 1, 1}, {false, 1, 2}, {true, 2, 1}} { // one retry in place, then from the queue
		if got := Await(t, "delivery", got); got != want {
			t.Errorf("delivery %d: got %+v, want %+v", i, got, want)
		}
	}
	if err := Await(t, "publish", done); err != nil {
		t.Errorf("publish: %v", err)
	}
}

func order(t *testing.T, e Env) {
	const n = 200
	sub := e.Transport.EventsSubscriber(1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	msgs, err := sub.Subscribe(ctx, "any")
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	var bodies [][]byte
	var want []int64
	for seq := int64(1); seq <= n; seq++ {
		bodies, want = append(bodies, MessageSent(t, room, seq)), append(want, seq)
	}
	ready(t, e)
	done := publish(e.Transport, events.ContentType, bodies...)
	var got []int64
	refused := false
	for len(got) < n {
		m := Await(t, "message", msgs)
		seq := bodyOf(t, m.Payload).Seq
		if seq == 10 && !refused {
			refused = true
			m.Nack()
			continue
		}
		got = append(got, seq)
		m.Ack()
	}
	if !slices.Equal(got, want) {
		t.Errorf("order: got %v", got)
	}
	if err := Await(t, "publish", done); err != nil {
		t.Errorf("publish: %v", err)
	}
	cancel()
	for range msgs {
	}
	if err := sub.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func absentConsumer(t *testing.T, e Env) {
	if e.Waits {
		ready(t, e)
	}
	err := Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 1)))
	switch {
	case e.Waits && err != nil:
		t.Errorf("publish: %v", err)
	case !e.Waits && !errors.Is(err, bus.ErrAbsent):
		t.Errorf("publish: got %v, want %v", err, bus.ErrAbsent)
	}
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	if !e.Waits {
		ready(t, e)
		err = Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 1)))
		if err != nil {
			t.Errorf("publish again: %v", err)
		}
	}
	r.await(t, 1, 1)
}

func cleanStop(t *testing.T, e Env) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var died atomic.Bool
	stop := Consume(t, e.Transport, fast(), func(ctx context.Context, ds []bus.Delivery) []error {
		close(entered)
		<-leave
		died.Store(ctx.Err() != nil)
		return make([]error, len(ds))
	})
	ready(t, e)
	done := publish(e.Transport, events.ContentType, MessageSent(t, room, 1))
	Await(t, "handler", entered)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("the consumer stopped while its handler worked")
	case <-time.After(50 * time.Millisecond): // nothing to wait for: it must not happen
	}
	close(leave)
	Await(t, "stop", stopped)
	if died.Load() {
		t.Error("the stop cancelled the handler's context")
	}
	if err := Await(t, "publish", done); err != nil {
		t.Errorf("publish: %v", err)
	}
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	if err := Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 2))); err != nil {
		t.Errorf("publish: %v", err)
	}
	r.await(t, 2, 2)
	if got := r.count(1); got != 0 {
		t.Errorf("the acknowledged message came again %d times", got)
	}
	if dead := e.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: got %d, want 0", len(dead))
	}
}

func stopPoisonsNothing(t *testing.T, e Env) {
	entered := make(chan struct{}, 100)
	o := fast()
	o.Retries, o.RetryMin, o.RetryMax, o.StopWithin = 1000, time.Hour, time.Hour, 10*time.Millisecond
	stop := Consume(t, e.Transport, o, func(ctx context.Context, ds []bus.Delivery) []error {
		entered <- struct{}{}
		if bodyOf(t, ds[0].Raw).Seq == 1 {
			<-ctx.Done() // works on until its grace is over
			return []error{ctx.Err()}
		}
		return []error{errOutage} // waits for its retry when the stop comes
	})
	ready(t, e)
	done := publish(e.Transport, events.ContentType, MessageSent(t, room, 1), MessageSent(t, room, 2))
	Await(t, "handler", entered)
	Await(t, "handler", entered)
	stop()
	if dead := e.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: got %d, want 0", len(dead))
	}
	err := Await(t, "publish", done)
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	if !e.Waits {
		if !errors.Is(err, bus.ErrAbsent) {
			t.Errorf("publish: got %v, want %v", err, bus.ErrAbsent)
		}
		return
	}
	r.await(t, 1, 2)
}
