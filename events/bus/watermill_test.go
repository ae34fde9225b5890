package bus

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

// watermillSuite runs the tests of Watermill's own suite that apply. They are called one by one, because
// tests.TestPubSub skips the others noisily: TestReconnect restarts the whole broker (cut connections are tested in
// this package), TestNewSubscriberReceivesOldMessages is about logs that keep what was consumed.
func watermillSuite(t *testing.T, f tests.Features, pubSub tests.PubSubConstructor, group tests.ConsumerGroupPubSubConstructor) {
	all := []struct {
		name string
		run  func(*testing.T, tests.TestContext, tests.PubSubConstructor)
	}{
		{"PublishSubscribe", tests.TestPublishSubscribe},
		{"ConcurrentSubscribe", tests.TestConcurrentSubscribe},
		{"ConcurrentSubscribeMultipleTopics", tests.TestConcurrentSubscribeMultipleTopics},
		{"ResendOnError", tests.TestResendOnError},
		{"NoAck", tests.TestNoAck},
		{"ConcurrentClose", tests.TestConcurrentClose},
		{"ContinueAfterErrors", tests.TestContinueAfterErrors},
		{"PublishSubscribeInOrder", tests.TestPublishSubscribeInOrder},
		{"PublisherClose", tests.TestPublisherClose},
		{"Topic", tests.TestTopic},
		{"MessageCtx", tests.TestMessageCtx},
		{"SubscribeCtx", tests.TestSubscribeCtx},
		{"ContinueAfterSubscribeClose", tests.TestContinueAfterSubscribeClose},
		{"ConsumerGroups", func(t *testing.T, c tests.TestContext, _ tests.PubSubConstructor) {
			tests.TestConsumerGroups(t, c, group)
		}},
	}
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, tests.TestContext{TestID: tests.NewTestID(), Features: f}, pubSub)
		})
	}
}

// TestWatermillSuiteAMQP: the publisher and subscriber as they are, with a quorum queue for each topic and group where
// the transport has one queue for all.
func TestWatermillSuiteAMQP(t *testing.T) {
	url, topology := rabbit.URL(t), rabbit.Topology(t)
	tr, err := DialAMQP(t.Context(), AMQPConfig{URL: url, Topology: topology, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	bus := tr.(*amqpTransport)
	var mu sync.Mutex
	queues := make(map[string]bool)
	t.Cleanup(func() {
		if err := tr.Close(); err != nil { // first: a subscription that the suite left open would declare its queue again
			t.Error(err)
		}
		ch := rabbit.Channel(t, url)
		for q := range queues {
			if _, err := ch.QueueDelete(q, false, false, false); err != nil {
				t.Errorf("delete queue %s: %v", q, err)
			}
		}
	})
	group := func(_ *testing.T, group string) (message.Publisher, message.Subscriber) {
		return bus.events, newSubscriber(bus.consume, Metrics{}, 1, func(ch *amqp.Channel, topic string) (string, error) {
			name := topology.Prefix + strings.Join([]string{topic, group}, ".")
			mu.Lock()
			queues[name] = true
			mu.Unlock()
			args := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(noDeliveryLimit)}
			if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
				return "", err
			}
			return name, ch.QueueBind(name, topic, topology.EventsExchange(), false, nil)
		})
	}
	watermillSuite(t, tests.Features{
		ConsumerGroups:                      true,
		ExactlyOnceDelivery:                 false,
		GuaranteedOrder:                     true,
		GuaranteedOrderWithSingleSubscriber: true,
		Persistent:                          true,
	}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "all") }, group)
}

// TestWatermillSuiteInProcess: the in-process publisher and subscriber over a queue for each topic and group. The suite
// publishes before anybody reads, so the publisher does not wait for acknowledgements here; that it does in the
// transport is tested in bustest.
func TestWatermillSuiteInProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var mu sync.Mutex
	queues := make(map[string]map[string]*memQueue) // by topic and group
	pub := &memPublisher{closed: ctx, orphans: ErrAbsent, queues: func(topic string) (qs []*memQueue) {
		mu.Lock()
		defer mu.Unlock()
		for _, q := range queues[topic] {
			qs = append(qs, q)
		}
		return qs
	}}
	group := func(_ *testing.T, group string) (message.Publisher, message.Subscriber) {
		s := &memSubscriber{inFlight: 1, queue: func(topic string) (*memQueue, func(), error) {
			mu.Lock()
			defer mu.Unlock()
			if queues[topic] == nil {
				queues[topic] = make(map[string]*memQueue)
			}
			if queues[topic][group] == nil {
				queues[topic][group] = newMemQueue(0, false)
			}
			return queues[topic][group], func() {}, nil
		}}
		s.ctx, s.cancel = context.WithCancel(ctx)
		return pub, s
	}
	watermillSuite(t, tests.Features{
		ConsumerGroups:                      true,
		GuaranteedOrder:                     true,
		GuaranteedOrderWithSingleSubscriber: true,
		Persistent:                          true, // between subscribers; the queues live as long as the process
	}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "all") }, group)
}
