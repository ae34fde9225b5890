package bus_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

// The queue of an instance is its own, and a slow reader loses its oldest only.
func TestFanoutQueueIsExclusiveAndBounded(t *testing.T) {
	t.Parallel()
	b := mustBroker(t, bus.AMQPConfig{})
	b.ready(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	seen := make(chan int64, 20_000)
	bustest.Start(t, "fan-out", func(ctx context.Context) error {
		return bus.RunFanout(ctx, b.tr, "slow", func(_ context.Context, e events.Envelope) {
			once.Do(func() { close(entered); <-leave })
			seq, err := strconv.ParseInt(e.ID[strings.LastIndexByte(e.ID, '/')+1:], 10, 64)
			if err != nil {
				t.Errorf("id %q: %v", e.ID, err)
			}
			seen <- seq
		}, options())
	})
	url, queue := b.url, b.topology.FanoutQueue("slow")
	locked := func() bool {
		var e *amqp.Error
		_, err := rabbit.Channel(t, url).QueueDeclarePassive(queue, false, true, true, false, nil)
		return errors.As(err, &e) && e.Code == amqp.ResourceLocked
	}
	rabbit.Eventually(t, "queue exclusive to the instance", locked)
	ch := rabbit.Channel(t, b.url)
	if err := ch.Confirm(false); err != nil {
		t.Fatalf("confirm: %v", err)
	}
	publish := func(seq int64) *amqp.DeferredConfirmation {
		c, err := ch.PublishWithDeferredConfirm(b.topology.FanoutExchange(), "", true, false, amqp.Publishing{
			ContentType: events.ContentType, Body: bustest.MessageSent(t, "ops", seq),
		})
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
		return c
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	rabbit.Eventually(t, "queue bound", func() bool {
		bustest.Await(t, "confirm", publish(1).Done())
		return len(returns) == 0 || (<-returns).ReplyCode == 0
	})
	const n = 11_000
	for seq := int64(2); seq < n; seq++ {
		publish(seq)
	}
	bustest.Await(t, "confirm", publish(n).Done())
	bustest.Await(t, "reader", entered)
	close(leave)
	count, before := 0, int64(0)
	for before < n {
		seq := bustest.Await(t, "fan-out event", seen)
		if seq <= before {
			t.Fatalf("order: %d after %d", seq, before)
		}
		count, before = count+1, seq
	}
	if most := 10_000 + 300; count > most {
		t.Errorf("events kept for a slow reader: got %d, want at most %d", count, most)
	}
	b.proxy.Cut() // the queue goes with its connection, and comes back with the next
	rabbit.Eventually(t, "reader back", func() bool {
		if err := bus.Broadcast(b.tr, "live", bustest.MessageSent(t, "ops", n+1)); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
}
