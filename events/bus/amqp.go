package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// AMQPConfig says how to reach a broker. Only URL is required.
type AMQPConfig struct {
	URL      string          // amqp:// or amqps://
	Topology events.Topology // names of what is declared
	Instance string          // names this process in the broker's list of connections
	TLS      *tls.Config     // for amqps; nil: what the URL and the system say
	Logger   *slog.Logger    // nil: discarded
	Metrics  Metrics

	ConfirmWithin time.Duration // bounds a publish with its confirms; default 30 s
	RetryMin      time.Duration // first delay before connecting or consuming again; default 100 ms
	RetryMax      time.Duration // longest; default 5 s
}

func (c AMQPConfig) withDefaults() (AMQPConfig, error) {
	if _, err := amqp.ParseURI(c.URL); err != nil {
		// The library's error may repeat the URL, and with it the password.
		return c, errors.New("not a broker's URL, want amqp://user:password@host:5672/vhost or amqps://…")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.ConfirmWithin, 30 * time.Second}, {&c.RetryMin, 100 * time.Millisecond}, {&c.RetryMax, 5 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return c, nil
}

func (c AMQPConfig) host() string {
	u, err := amqp.ParseURI(c.URL)
	if err != nil {
		return "?"
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
}

// amqpTransport is the transport over RabbitMQ.
type amqpTransport struct {
	cfg       AMQPConfig
	publish   *link
	consume   *link
	events    *publisher
	dead      *publisher
	fanout    *fanoutPublisher
	writer    sync.WaitGroup // the fan-out's writer
	closeOnce sync.Once

	mu        sync.Mutex    // guards consumers
	consumers []*subscriber // of the persister's queue
}

// DialAMQP starts a transport over RabbitMQ. It returns an error only for a URL that cannot be one (the text has no
// password in it); it does not wait for the broker, which is tried for ever with a growing delay. Ready tells when it
// is there. The transport lives until Close, or until a Run's context ends; the end of ctx does not touch it, so that
// what is in flight at a stop can still be acknowledged.
func DialAMQP(ctx context.Context, cfg AMQPConfig) (Transport, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	t := &amqpTransport{cfg: cfg, publish: newLink(ctx, "publish", cfg), consume: newLink(ctx, "consume", cfg)}
	t.events = newPublisher(t.publish, cfg.Topology.EventsExchange(), cfg.ConfirmWithin, cfg.Metrics)
	t.dead = newPublisher(t.publish, cfg.Topology.DeadLetterExchange(), cfg.ConfirmWithin, Metrics{})
	t.fanout = newFanoutPublisher(t.publish, cfg.Topology.FanoutExchange(), cfg.Metrics)
	t.writer.Go(func() { t.fanout.run(t.publish.ctx) })
	return t, nil
}

func (t *amqpTransport) Events() message.Publisher { return t.events }

func (t *amqpTransport) Fanout() message.Publisher { return t.fanout }

// DeadLetters publishes to the poison queue, whatever the topic.
func (t *amqpTransport) DeadLetters() message.Publisher {
	return fixedTopic{t.dead, t.cfg.Topology.MessageSentQueue()}
}

func (t *amqpTransport) EventsSubscriber(inFlight int) message.Subscriber {
	s := newSubscriber(t.consume, t.cfg.Metrics, max(inFlight, 1), func(ch *amqp.Channel, _ string) (string, error) {
		return t.cfg.Topology.MessageSentQueue(), declareTopology(ch, t.cfg.Topology)
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.consumers = append(t.consumers, s)
	return s
}

// fanoutPrefetch hides the round trip.
const fanoutPrefetch = 256

func (t *amqpTransport) FanoutSubscriber(instance string) message.Subscriber {
	return newSubscriber(t.consume, Metrics{}, fanoutPrefetch, func(ch *amqp.Channel, _ string) (string, error) {
		if err := declareTopology(ch, t.cfg.Topology); err != nil {
			return "", err
		}
		return declareFanoutQueue(ch, t.cfg.Topology, instance)
	})
}

func (t *amqpTransport) Ready() error {
	if err := t.publish.ready(); err != nil {
		return err
	}
	if err := t.consume.ready(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.consumers {
		if err := s.ready(); err != nil {
			return err
		}
	}
	return nil
}

func (t *amqpTransport) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-t.publish.ctx.Done():
	}
	return t.Close()
}

func (t *amqpTransport) Close() error {
	t.closeOnce.Do(func() {
		t.consume.close()
		t.publish.close()
		t.writer.Wait()
	})
	return nil
}

// fixedTopic publishes everything to one topic. A message's own routing key, which it may have from where it was
// consumed, is kept in a header.
type fixedTopic struct {
	message.Publisher
	topic string
}

func (f fixedTopic) Publish(_ string, msgs ...*message.Message) error {
	sent := make([]*message.Message, len(msgs))
	for i, m := range msgs {
		sent[i] = m.Copy()
		sent[i].SetContext(m.Context())
		if key, ok := m.Metadata[metaRoutingKey]; ok {
			sent[i].Metadata[HeaderTopic] = key
			delete(sent[i].Metadata, metaRoutingKey)
		}
	}
	return f.Publisher.Publish(f.topic, sent...)
}
