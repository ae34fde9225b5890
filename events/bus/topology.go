package bus

import (
	"fmt"
	"maps"
	"math"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// Bounds of a replica's fan-out queue.
const (
	fanoutMaxMessages = 10_000
	fanoutMaxBytes    = 32 << 20
)

// noDeliveryLimit stands on both durable queues: RabbitMQ 4 gives quorum queues a limit of 20 deliveries, after which
// it dead-letters a good message during an outage, and drops one that was only looked at in the poison queue. The
// greatest number is as good as none; -1 is none for 4.x, but 3.x takes it for 0 and drops a message at its first nack.
// With a limit, a message that is given back also returns to the head of its queue, not to its tail: order is kept.
const noDeliveryLimit = math.MaxInt32

// Exchange is an exchange as the services declare it: durable, without arguments.
type Exchange struct {
	Name, Kind string
}

// Exchanges are the exchanges of a topology, in the order of their declaration.
func Exchanges(t events.Topology) []Exchange {
	return []Exchange{
		{t.EventsExchange(), amqp.ExchangeTopic},
		{t.DeadLetterExchange(), amqp.ExchangeDirect},
		{t.FanoutExchange(), amqp.ExchangeFanout},
	}
}

// Declare makes the exchange. One of that name that differs closes the channel with 406.
func (x Exchange) Declare(ch *amqp.Channel) error {
	if err := ch.ExchangeDeclare(x.Name, x.Kind, true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", x.Name, err)
	}
	return nil
}

// Queue is a durable queue as the services declare it, and its one binding.
type Queue struct {
	Name          string
	Exchange, Key string
	args          amqp.Table
}

// MessageSentQueue is the persister's queue.
func MessageSentQueue(t events.Topology) Queue {
	return durableQueue(t.MessageSentQueue(), t.EventsExchange(), events.MessageSentBinding, amqp.Table{
		"x-dead-letter-exchange":    t.DeadLetterExchange(),
		"x-dead-letter-routing-key": t.MessageSentQueue(),
	})
}

// DeadLetterQueue is the poison queue.
func DeadLetterQueue(t events.Topology) Queue {
	return durableQueue(t.DeadLetterQueue(), t.DeadLetterExchange(), t.MessageSentQueue(), nil)
}

func durableQueue(name, exchange, key string, more amqp.Table) Queue {
	args := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(noDeliveryLimit)}
	maps.Copy(args, more)
	return Queue{name, exchange, key, args}
}

// Declare makes the queue, and leaves its binding alone. One of that name with other arguments closes the channel
// with 406.
func (q Queue) Declare(ch *amqp.Channel) error {
	if _, err := ch.QueueDeclare(q.Name, true, false, false, false, q.args); err != nil {
		return fmt.Errorf("declare queue %s: %w", q.Name, err)
	}
	return nil
}

func declareTopology(ch *amqp.Channel, t events.Topology) error {
	for _, x := range Exchanges(t) {
		if err := x.Declare(ch); err != nil {
			return err
		}
	}
	for _, q := range []Queue{DeadLetterQueue(t), MessageSentQueue(t)} {
		if err := q.Declare(ch); err != nil {
			return err
		}
		if err := ch.QueueBind(q.Name, q.Key, q.Exchange, false, nil); err != nil {
			return fmt.Errorf("bind queue %s: %w", q.Name, err)
		}
	}
	return nil
}

// declareFanoutQueue makes the queue of one replica. It is exclusive to the connection, and goes with it.
func declareFanoutQueue(ch *amqp.Channel, t events.Topology, instance string) (string, error) {
	name := t.FanoutQueue(instance)
	_, err := ch.QueueDeclare(name, false, true, true, false, amqp.Table{
		"x-max-length":       int32(fanoutMaxMessages),
		"x-max-length-bytes": int32(fanoutMaxBytes),
		"x-overflow":         "drop-head",
	})
	if err != nil {
		return "", fmt.Errorf("declare queue %s: %w", name, err)
	}
	if err := ch.QueueBind(name, "", t.FanoutExchange(), false, nil); err != nil {
		return "", fmt.Errorf("bind queue %s: %w", name, err)
	}
	return name, nil
}
