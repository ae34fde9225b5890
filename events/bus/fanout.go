package bus

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// fanoutBacklog is how many messages may wait for the fan-out's writer; what exceeds it is lost.
const fanoutBacklog = 4096

// fanoutPublisher sends without confirms from a bounded queue: a broker that is away or slow never holds up a sender.
type fanoutPublisher struct {
	// Immutable.
	link     *link
	exchange string
	metrics  Metrics
	log      *slog.Logger
	queue    chan fanoutItem

	// Owned by run.
	ch   *amqp.Channel
	conn *amqp.Connection
}

type fanoutItem struct {
	topic string
	msg   *message.Message
}

func newFanoutPublisher(l *link, exchange string, m Metrics) *fanoutPublisher {
	return &fanoutPublisher{
		link: l, exchange: exchange, metrics: m, log: l.log,
		queue: make(chan fanoutItem, fanoutBacklog),
	}
}

// Publish queues what has room and drops the rest.
func (f *fanoutPublisher) Publish(topic string, msgs ...*message.Message) error {
	if f.link.ctx.Err() != nil {
		return ErrClosed
	}
	dropped := 0
	for _, m := range msgs {
		select {
		case f.queue <- fanoutItem{topic, m}:
		default:
			dropped++
		}
	}
	count(f.metrics.FanoutDropped, dropped)
	return nil
}

// Close does nothing; the transport owns the writer.
func (f *fanoutPublisher) Close() error { return nil }

func (f *fanoutPublisher) run(ctx context.Context) {
	for {
		select {
		case it := <-f.queue:
			if err := f.send(it); err != nil {
				count(f.metrics.FanoutDropped, 1)
				f.log.Debug("fan-out message lost", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (f *fanoutPublisher) send(it fanoutItem) error {
	if err := f.link.ready(); err != nil {
		return err
	}
	if f.ch == nil || f.ch.IsClosed() {
		conn, err := f.link.connection(f.link.ctx)
		if err != nil {
			return err
		}
		err = f.link.bounded(conn, func() (err error) {
			f.ch, err = conn.Channel()
			return err
		})
		if err != nil {
			f.ch = nil
			return err
		}
		f.conn = conn
	}
	key, p := publishing(it.topic, it.msg, amqp.Transient)
	return f.link.bounded(f.conn, func() error {
		return f.ch.PublishWithContext(f.link.ctx, f.exchange, key, false, false, p)
	})
}
