package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Why a consumer starts anew.
var (
	errChannelClosed     = errors.New("the channel was closed")
	errConsumerCancelled = errors.New("the broker cancelled the consumer") // its queue is gone
)

// redeclareAfter is how long a queue that is gone stays so before anybody here declares it again. If a quorum queue
// comes back at once, RabbitMQ (3.10, seen) attaches consumers of the old one to it without telling them, and what it
// then sends first never reaches them; if it stays away for a moment, they are cancelled and start anew.
const redeclareAfter = time.Second

// subscriber is a Watermill subscriber that survives its broker: whenever its channel, its connection or its queue
// goes, it declares and consumes again. A subscription ends in one of two ways. When the context given to Subscribe
// ends, it takes no more, waits until what was handed out is acknowledged or not, and only then closes its output.
// Close does not wait for that: what has no acknowledgement by then goes back to the queue.
//
// A subscription has one bundle with its handler. What arrives meanwhile makes the next, which one call acknowledges.
// There is no artificial delay: a bundle grows with the load by itself.
type subscriber struct {
	// Immutable.
	link     *link
	log      *slog.Logger
	metrics  Metrics
	declare  func(ch *amqp.Channel, topic string) (queue string, err error)
	prefetch int // how many messages the broker sends without an acknowledgement; half of them make a bundle at most
	ctx      context.Context
	cancel   context.CancelFunc

	wg sync.WaitGroup // one for each subscription

	mu     sync.Mutex // guards the fields below, and closed against wg.Add
	closed bool
	away   map[chan<- *message.Message]error // subscriptions that do not consume now, by their output, and why
}

func newSubscriber(l *link, m Metrics, prefetch int, declare func(*amqp.Channel, string) (string, error)) *subscriber {
	s := &subscriber{
		link: l, log: l.log, metrics: m, declare: declare, prefetch: prefetch, away: make(map[chan<- *message.Message]error),
	}
	s.ctx, s.cancel = context.WithCancel(l.ctx)
	return s
}

// Subscribe returns at once, whether the broker is there or not.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	out := make(chan *message.Message)
	s.away[out] = errors.New("not yet tried")
	s.wg.Go(func() {
		defer close(out)
		defer s.consumes(out) // it is not missed
		s.run(ctx, topic, out)
	})
	return out, nil
}

// ready is nil while every subscription consumes.
func (s *subscriber) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.away {
		return fmt.Errorf("%w: %w", ErrNotConsuming, err)
	}
	return nil
}

func (s *subscriber) consumes(out chan<- *message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.away, out)
}

func (s *subscriber) interrupted(out chan<- *message.Message, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[out] = err
}

// SubscribeInitialize declares what Subscribe would, waiting for the broker until Close.
func (s *subscriber) SubscribeInitialize(topic string) error {
	conn, err := s.link.connection(s.ctx)
	if err != nil {
		return err
	}
	return s.link.bounded(conn, func() error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		_, err = s.declare(ch, topic)
		return errors.Join(err, ch.Close())
	})
}

// Close ends all subscriptions without waiting for acknowledgements, and waits for their goroutines.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *subscriber) run(ctx context.Context, topic string, out chan<- *message.Message) {
	live, cancel := context.WithCancel(ctx) // ends with either
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	retry := backoff{first: s.link.cfg.RetryMin, max: s.link.cfg.RetryMax}
	for live.Err() == nil {
		got, err := s.consume(live, topic, out)
		if live.Err() != nil {
			return
		}
		s.interrupted(out, err)
		s.log.Warn("consuming interrupted, starting again", "topic", topic, "error", err)
		if got {
			retry.reset()
		}
		if errors.Is(err, errConsumerCancelled) {
			pause(live, redeclareAfter)
			continue
		}
		retry.wait(live)
	}
}

// consume runs one consumer on one channel until something ends it. got tells whether it received anything.
func (s *subscriber) consume(live context.Context, topic string, out chan<- *message.Message) (got bool, err error) {
	conn, err := s.link.connection(live)
	if err != nil {
		return false, err
	}
	var ch *amqp.Channel
	var deliveries <-chan amqp.Delivery
	const tag = "gochat" // unique on its channel is enough
	asked := ""          // the queue, when it came that far
	err = s.link.bounded(conn, func() error {
		if ch, err = conn.Channel(); err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		queue, err := s.declare(ch, topic)
		if err != nil {
			return err
		}
		if err := ch.Qos(s.prefetch, 0, false); err != nil {
			return fmt.Errorf("set the prefetch: %w", err)
		}
		asked = queue
		if deliveries, err = ch.Consume(queue, tag, false, false, false, false, nil); err != nil {
			return fmt.Errorf("consume %s: %w", queue, err)
		}
		return nil
	})
	if errors.Is(err, errSilent) && asked != "" {
		err = fmt.Errorf("%w; a quorum queue that answers to nothing has no leader", err)
	}
	if ch != nil {
		// What was delivered and not acknowledged goes back to the queue with the channel.
		defer func() { _ = s.link.bounded(conn, ch.Close) }()
	}
	if err != nil {
		return false, err
	}

	s.consumes(out)
	in := &inbox{arrived: make(chan arrival, s.prefetch)}
	s.wg.Go(func() { in.fill(deliveries) })
	for in.wait(live) {
		got = true
		s.handOut(live, in, out)
	}
	switch {
	case live.Err() != nil:
		// It shall send no more. What was not handed out goes back with the channel.
		return got, ch.Cancel(tag, true)
	case in.err != nil:
		return got, in.err
	case ch.IsClosed():
		return got, errChannelClosed
	default:
		return got, errConsumerCancelled
	}
}

// handOut gives the handler a bundle and waits for its word, also when the connection is lost meanwhile: the messages
// come again, and must not overtake their handler.
func (s *subscriber) handOut(live context.Context, in *inbox, out chan<- *message.Message) {
	ctx, cancel := context.WithCancel(live)
	defer cancel()
	ms, newest := in.take((s.prefetch + 1) / 2)
	if ms[0].Metadata[metaRedelivered] != "" {
		count(s.metrics.Redelivered, 1)
	}
	m := bundle(ctx, ms)
	select {
	case out <- m:
		s.settle(m, newest)
	case <-live.Done():
	}
}

// settle waits for the handler's word and passes it on, for all up to the newest: no earlier one is open.
func (s *subscriber) settle(m *message.Message, newest amqp.Delivery) {
	var err error
	select {
	case <-m.Acked():
		err = newest.Ack(true)
	case <-m.Nacked():
		err = newest.Nack(true, true)
	case <-s.ctx.Done():
		select {
		case <-m.Acked(): // said in time, only read too late
			err = newest.Ack(true)
		default: // goes back with the channel
		}
	}
	if err != nil {
		s.log.Debug("acknowledgement lost, the messages come again", "message_id", m.UUID, "error", err)
	}
}
