package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// broker is a transport behind a proxy.
type broker struct {
	tr       bus.Transport
	proxy    *rabbit.Proxy
	url      string // around the proxy
	topology events.Topology
}

func mustBroker(t *testing.T, cfg bus.AMQPConfig) broker {
	t.Helper()
	b := broker{url: rabbit.URL(t), topology: rabbit.Topology(t)}
	b.proxy = rabbit.NewProxy(t, b.url)
	cfg.URL, cfg.Topology, cfg.RetryMin, cfg.RetryMax = b.proxy.URL(), b.topology, 10*time.Millisecond, 100*time.Millisecond
	b.tr = mustDial(t, cfg)
	return b
}

func (b broker) ready(t *testing.T) {
	t.Helper()
	rabbit.Eventually(t, "transport ready", func() bool { return b.tr.Ready() == nil })
}

func (b broker) publish(t *testing.T, seqs ...int64) error {
	t.Helper()
	var msgs []*message.Message
	for _, seq := range seqs {
		m := message.NewMessage(events.EventID("ops", seq), bustest.MessageSent(t, "ops", seq))
		m.Metadata["content_type"] = events.ContentType
		msgs = append(msgs, m)
	}
	return b.tr.Events().Publish(events.MessageSentKey(1), msgs...)
}

// collect consumes and passes the seqs on.
func (b broker) collect(t *testing.T) <-chan int64 {
	t.Helper()
	seqs := make(chan int64, 10_000)
	bustest.Consume(t, b.tr, options(), func(_ context.Context, ds []bus.Delivery) []error {
		for _, d := range ds {
			m, err := events.DecodeMessageSent(d.Raw)
			if err != nil {
				return []error{err}
			}
			seqs <- m.Seq
		}
		return make([]error, len(ds))
	})
	return seqs
}

func options() bus.Options {
	return bus.Options{
		Handlers: 2, InFlight: 4, Retries: 2, StopWithin: 2 * time.Second,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, NackDelay: 5 * time.Millisecond,
	}
}

// awaitSeqs waits until each of the seqs came at least once.
func awaitSeqs(t *testing.T, got <-chan int64, seqs ...int64) {
	t.Helper()
	missing := make(map[int64]bool)
	for _, s := range seqs {
		missing[s] = true
	}
	for len(missing) > 0 {
		delete(missing, bustest.Await(t, "event", got))
	}
}

// The broker confirms what it could not route; Publish must not.
func TestUnroutableMessageIsAnError(t *testing.T) {
	t.Parallel()
	var returned, confirmed atomic.Int64
	b := mustBroker(t, bus.AMQPConfig{Metrics: bus.Metrics{
		Returned:  func(n int) { returned.Add(int64(n)) },
		Confirmed: func(n int) { confirmed.Add(int64(n)) },
	}})
	b.ready(t)
	if err := b.publish(t, 1, 2); err != nil {
		t.Fatalf("publish: %v", err)
	}
	ch := rabbit.Channel(t, b.url)
	if _, err := ch.QueueDelete(b.topology.MessageSentQueue(), false, false, false); err != nil {
		t.Fatalf("delete the queue: %v", err)
	}
	if err := b.publish(t, 3, 4, 5); !errors.Is(err, bus.ErrUnroutable) {
		t.Errorf("publish without a queue: got %v, want %v", err, bus.ErrUnroutable)
	}
	if got, want := returned.Load(), int64(3); got != want {
		t.Errorf("returned: got %d, want %d", got, want)
	}
	// The publisher declares the queue again after that, so that the relay is not stuck until a persister comes.
	if err := b.publish(t, 3, 4, 5); err != nil {
		t.Errorf("publish again: %v", err)
	}
	if err := ch.QueueUnbind(b.topology.MessageSentQueue(), events.MessageSentBinding, b.topology.EventsExchange(), nil); err != nil {
		t.Fatalf("unbind: %v", err)
	}
	if err := b.publish(t, 6); !errors.Is(err, bus.ErrUnroutable) {
		t.Errorf("publish without a binding: got %v, want %v", err, bus.ErrUnroutable)
	}
	if got, want := confirmed.Load(), int64(5); got != want {
		t.Errorf("confirmed: got %d, want %d", got, want)
	}
	awaitSeqs(t, b.collect(t), 3, 4, 5)
}

func TestRedeliveryAfterConsumersConnectionIsCut(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	var once sync.Once
	entered, leave := make(chan struct{}), make(chan struct{})
	got := make(chan bus.Delivery, 100)
	bustest.Consume(t, b.tr, options(), func(_ context.Context, ds []bus.Delivery) []error {
		once.Do(func() { close(entered); <-leave })
		got <- ds[0]
		return []error{nil}
	})
	b.ready(t)
	if err := b.publish(t, 1); err != nil {
		t.Fatalf("publish: %v", err)
	}
	bustest.Await(t, "handler", entered)
	b.proxy.Refuse(true)
	rabbit.Eventually(t, "loss noticed", func() bool { return b.tr.Ready() != nil })
	close(leave)
	if bustest.Await(t, "first delivery", got).Redelivered {
		t.Error("first delivery: got redelivered")
	}
	b.proxy.Refuse(false)
	if !bustest.Await(t, "second delivery", got).Redelivered {
		t.Error("second delivery: got not redelivered")
	}
}

// A header that is no string must not make a message undeliverable.
func TestForeignHeadersDoNotBreakDelivery(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	b.ready(t)
	ch := rabbit.Channel(t, b.url)
	for i, h := range []amqp.Table{
		{"x-death": []any{amqp.Table{"count": int64(3), "queue": "q", "time": time.Now()}}, "x-first-death-queue": "q"},
		{"x-delivery-count": int64(7)},
		{"nothing": nil, "bytes": []byte{0xff, 0}, "float": 1.5, "bool": true, "time": time.Now(), "decimal": amqp.Decimal{Value: 1}},
		{"content_type": "x", "routing_key": int32(1), "type": "y", "redelivered": "true"},
	} {
		err := ch.PublishWithContext(t.Context(), b.topology.EventsExchange(), events.MessageSentKey(1), true, false, amqp.Publishing{
			Headers: h, ContentType: events.ContentType, Body: bustest.MessageSent(t, "ops", int64(i+1)),
		})
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	awaitSeqs(t, b.collect(t), 1, 2, 3, 4)
}

// RabbitMQ 4 takes a message away after 20 deliveries, unless the queue says otherwise.
func TestQueuesKeepWhatIsGivenBackOften(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	b.ready(t)
	if err := b.publish(t, 1); err != nil {
		t.Fatalf("publish: %v", err)
	}
	dead := message.NewMessage("d", []byte("{}"))
	if err := b.tr.DeadLetters().Publish("", dead); err != nil {
		t.Fatalf("publish a dead letter: %v", err)
	}
	ch := rabbit.Channel(t, b.url)
	for _, queue := range []string{b.topology.MessageSentQueue(), b.topology.DeadLetterQueue()} {
		for range 50 {
			rabbit.Eventually(t, "message in "+queue, func() bool {
				d, ok, err := ch.Get(queue, false)
				if err != nil {
					t.Fatalf("get: %v", err)
				}
				if ok {
					err = d.Nack(false, true)
				}
				return ok && err == nil
			})
		}
	}
}

func TestConsumerCancelledByTheBrokerComesBack(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	got := b.collect(t)
	b.ready(t)
	if err := b.publish(t, 1); err != nil {
		t.Fatalf("publish: %v", err)
	}
	awaitSeqs(t, got, 1)
	ch := rabbit.Channel(t, b.url)
	if _, err := ch.QueueDelete(b.topology.MessageSentQueue(), false, false, false); err != nil {
		t.Fatalf("delete the queue: %v", err)
	}
	rabbit.Eventually(t, "publishing again", func() bool { return b.publish(t, 2) == nil })
	awaitSeqs(t, got, 2)
}

func TestPublisherReconnects(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	got := b.collect(t)
	src := bustest.NewSource(20)
	bustest.Relay(t, b.tr, src)
	var want []int64
	for i := range int64(20) {
		src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", i*10+1, i*10+10)}
		if i%5 == 0 {
			b.proxy.Cut()
		}
		bustest.Await(t, "marked window", src.Dones)
		for seq := i*10 + 1; seq <= i*10+10; seq++ {
			want = append(want, seq)
		}
	}
	awaitSeqs(t, got, want...)
}

func TestConfirmWaitIsBounded(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{ConfirmWithin: 300 * time.Millisecond})
	b.ready(t)
	rabbit.Eventually(t, "publishing", func() bool { return b.publish(t, 1) == nil }) // on a slow disk it is not confirmed in time
	b.proxy.Stall()
	start := time.Now()
	err := b.publish(t, 2)
	if !errors.Is(err, bus.ErrUnconfirmed) || !errors.Is(err, bus.ErrTimeout) {
		t.Errorf("publish to a silent broker: got %v, want %v and %v", err, bus.ErrUnconfirmed, bus.ErrTimeout)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("publish took %v", took)
	}
	b.proxy.Resume()
	rabbit.Eventually(t, "publishing again", func() bool { return b.publish(t, 3) == nil })
}

func TestBrokerAbsentAtStart(t *testing.T) {
	t.Parallel()
	url, topology := rabbit.URL(t), rabbit.Topology(t)
	proxy := rabbit.NewProxy(t, url)
	proxy.Refuse(true)
	tr := mustDial(t, bus.AMQPConfig{
		URL: proxy.URL(), Topology: topology, RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond,
	})
	b := broker{tr: tr, proxy: proxy, url: url, topology: topology}
	if err := tr.Ready(); !errors.Is(err, bus.ErrNotConnected) {
		t.Errorf("ready: got %v, want %v", err, bus.ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	m := message.NewMessageWithContext(ctx, events.EventID("ops", 1), bustest.MessageSent(t, "ops", 1))
	if err := tr.Events().Publish(events.MessageSentKey(1), m); !errors.Is(err, bus.ErrNotConnected) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrNotConnected)
	}
	start := time.Now()
	for range 10_000 {
		if err := bus.Broadcast(tr, "live", []byte("{}")); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("10,000 broadcasts without a broker took %v", took)
	}
	got := b.collect(t)
	src := bustest.NewSource(1)
	bustest.Relay(t, tr, src)
	src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", 1, 10)}
	proxy.Refuse(false)
	bustest.Await(t, "marked window", src.Dones)
	awaitSeqs(t, got, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	select {
	case err := <-src.Fails: // the relay took no window while the broker was away
		t.Errorf("window failed: %v", err)
	default:
	}
}

func TestCloseWhileTheBrokerIsSilent(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	consumed := make(chan error, 1)
	bustest.Start(t, "consumer", func(ctx context.Context) error {
		consumed <- bus.RunConsumer(ctx, b.tr, func(_ context.Context, ds []bus.Delivery) []error { return make([]error, len(ds)) }, options())
		return nil
	})
	b.ready(t)
	b.proxy.Stall()
	done := make(chan error, 1)
	go func() { done <- b.tr.Close() }()
	if err := bustest.Await(t, "close", done); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := bustest.Await(t, "end of the consumer", consumed); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("consumer: got %v, want %v", err, bus.ErrClosed)
	}
}

func TestURLMistakeTellsNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "http://u:secret@host", "amqp://u:secret@ho st:1/", "amqp://u:secret@host:port/"} {
		_, err := bus.DialAMQP(t.Context(), bus.AMQPConfig{URL: url})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
