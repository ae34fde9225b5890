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

func declareTopology(ch *amqp.Channel, t events.Topology) error {
	for _, x := range []struct{ name, kind string }{
		{t.EventsExchange(), amqp.ExchangeTopic},
		{t.DeadLetterExchange(), amqp.ExchangeDirect},
		{t.FanoutExchange(), amqp.ExchangeFanout},
	} {
		if err := ch.ExchangeDeclare(x.name, x.kind, true, false, false, false, nil); err != nil {
			return fmt.Errorf("declare exchange %s: %w", x.name, err)
		}
	}
	for _, q := range []struct {
		name, exchange, key string
		args                amqp.Table
	}{
		{t.DeadLetterQueue(), t.DeadLetterExchange(), t.MessageSentQueue(), nil},
		{t.MessageSentQueue(), t.EventsExchange(), events.MessageSentBinding, amqp.Table{
			"x-dead-letter-exchange":    t.DeadLetterExchange(),
			"x-dead-letter-routing-key": t.MessageSentQueue(),
		}},
	} {
		args := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(noDeliveryLimit)}
		maps.Copy(args, q.args)
		if _, err := ch.QueueDeclare(q.name, true, false, false, false, args); err != nil {
			return fmt.Errorf("declare queue %s: %w", q.name, err)
		}
		if err := ch.QueueBind(q.name, q.key, q.exchange, false, nil); err != nil {
			return fmt.Errorf("bind queue %s: %w", q.name, err)
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
