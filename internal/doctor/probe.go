package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// AMQP tells no bindings. What it does tell is that a mandatory message found no queue, so each binding is asked with a
// message that nothing comes of. Every probe is confirmed, and none is left behind.

var errNotConfirmed = errors.New("the broker did not confirm a message")

// blockedRemedy mends a broker that refuses publishing.
const blockedRemedy = "free disk or memory of the broker's machine, or raise its limits (disk_free_limit, vm_memory_high_watermark)"

// probe publishes a mandatory message for each key, waits for the confirms, and returns the keys whose message no queue
// took. A return comes before its confirm.
func (b *broker) probe(ctx context.Context, exchange string, keys []string, p amqp.Publishing) (returned []string, err error) {
	p.Type, p.MessageId, p.Timestamp = "gochat.Probe", "doctor/"+rand.Text(), time.Now()
	err = b.channel(ctx, func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return fmt.Errorf("ask for confirms: %w", err)
		}
		returns := ch.NotifyReturn(make(chan amqp.Return, len(keys)))
		confirms := make([]*amqp.DeferredConfirmation, len(keys))
		for i, key := range keys {
			if confirms[i], err = ch.PublishWithDeferredConfirm(exchange, key, true, false, p); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		for _, c := range confirms {
			if err := b.confirmed(ctx, ch, c); err != nil {
				return err
			}
		}
		for len(returns) > 0 {
			r := <-returns
			returned = append(returned, r.RoutingKey)
		}
		return nil
	})
	return returned, err
}

// blockedError: the broker refuses publishing.
type blockedError struct{ reason string }

func (e *blockedError) Error() string { return "the broker refuses publishing: " + oneLine(e.reason) }

func (b *broker) confirmed(ctx context.Context, ch *amqp.Channel, c *amqp.DeferredConfirmation) error {
	select {
	case <-c.Done():
		if c.Acked() {
			return nil
		}
		// The library gives up what waits on a channel that the broker closed, and forgets why.
		if ch.IsClosed() {
			return fmt.Errorf("%w: it closed the channel; %s", errNotConfirmed, grantConfigure)
		}
		return errNotConfirmed
	case <-b.alarm:
		return &blockedError{b.reason}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// probeFailed tells why a probe came to nothing.
func probeFailed(err error) outcome {
	if e, is := errorsAs[*blockedError](err); is {
		return fail(blockedRemedy, "%s", e.Error())
	}
	if e, is := errorsAs[*amqp.Error](err); is && e.Code == amqp.AccessRefused {
		return fail(grantConfigure, "%s", oneLine(e.Reason))
	}
	return failErr(err, "look at the broker's log and alarms (rabbitmqctl status)")
}

// eventsBinding sends an empty batch to every shard: CloudEvents allows one, and a persister takes it and has nothing to
// do. Without a persister it would lie there, so this check needs one.
func (b *broker) eventsBinding(ctx context.Context) outcome {
	keys := make([]string, events.Shards)
	for i := range keys {
		keys[i] = events.MessageSentKey(i)
	}
	start := time.Now()
	returned, err := b.probe(ctx, b.topology.EventsExchange(), keys, amqp.Publishing{
		ContentType: events.ContentTypeBatch, DeliveryMode: amqp.Persistent, Body: events.EncodeBatch(nil),
	})
	switch {
	case err != nil:
		return probeFailed(err)
	case len(returned) > 0:
		return fail(restart+", and the relay does with the first message that it cannot route",
			"%s leads to no queue for %s", b.topology.EventsExchange(), strings.Join(returned, ", "))
	}
	return ok("%s, all %d shards, confirmed %s", events.MessageSentBinding, events.Shards, took(start))
}

// poisonBinding sends a message that is out of date when it comes: an empty queue drops it at once. With letters or
// readers there it would wait behind the one, or be shown to the other.
func (b *broker) poisonBinding(ctx context.Context) outcome {
	if b.dead.Consumers > 0 {
		return skip("somebody reads the poison queue")
	}
	returned, err := b.probe(ctx, b.topology.DeadLetterExchange(), []string{b.topology.MessageSentQueue()}, amqp.Publishing{
		Expiration: "0", DeliveryMode: amqp.Persistent,
	})
	switch {
	case err != nil:
		return probeFailed(err)
	case len(returned) > 0:
		return fail(restart, "%s does not lead to %s: an event that cannot be stored has no place to go", b.topology.DeadLetterExchange(), b.dead.Name)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := b.count(ctx, b.dead.Name)
		if err != nil {
			return probeFailed(err)
		}
		if n == 0 {
			return ok("%s leads to the poison queue", b.topology.DeadLetterExchange())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fail("look what it is: an event may just have been put there", "%s came into the poison queue meanwhile", plural(int64(n), "dead letter"))
		}
	}
}

// roundTrip goes over a queue of its own, which is gone with its channel's connection: nobody else's is touched.
func (b *broker) roundTrip(ctx context.Context) outcome {
	var confirm, delivery time.Duration
	err := b.channel(ctx, func(ch *amqp.Channel) error {
		name := b.topology.Prefix + "chatroom.doctor." + strings.ToLower(rand.Text())
		if _, err := ch.QueueDeclare(name, false, true, true, false, nil); err != nil {
			return fmt.Errorf("declare a queue: %w", err)
		}
		got, err := ch.Consume(name, "", true, true, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		if err := ch.Confirm(false); err != nil {
			return fmt.Errorf("ask for confirms: %w", err)
		}
		start := time.Now()
		c, err := ch.PublishWithDeferredConfirm("", name, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(name)})
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if err := b.confirmed(ctx, ch, c); err != nil {
			return err
		}
		confirm = time.Since(start)
		select {
		case d, open := <-got:
			if !open || string(d.Body) != name {
				return errors.New("the message did not come back")
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		delivery = time.Since(start)
		_, err = ch.QueueDelete(name, false, false, false)
		return err
	})
	if err != nil {
		return probeFailed(err)
	}
	const slow = time.Second
	if delivery > slow {
		return warn("look at the broker's load and disk", "confirmed in %s, delivered in %s", short(confirm), short(delivery))
	}
	return ok("confirmed in %s, delivered in %s", short(confirm), short(delivery))
}

// unroutable sees that the broker gives back what no queue takes: the relay counts on it.
func (b *broker) unroutable(ctx context.Context) outcome {
	key := "doctor.unroutable." + strings.ToLower(rand.Text())
	returned, err := b.probe(ctx, b.topology.EventsExchange(), []string{key}, amqp.Publishing{Expiration: "0"})
	switch {
	case err != nil:
		return probeFailed(err)
	case len(returned) == 0:
		return fail("unbind what is bound to everything (rabbitmqctl list_bindings): only the queues of services may be bound here",
			"a queue on %s takes a message that is for nobody, so a lost route would not be noticed", b.topology.EventsExchange())
	}
	return ok("a message without a queue comes back")
}
