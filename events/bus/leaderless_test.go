//go:build unix

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/internal/services"
)

// A quorum queue without a leader is there, and answers to nobody: the transport is connected, and yet not ready.
func TestQueueThatDoesNotAnswerIsNotReady(t *testing.T) {
	t.Parallel()
	srv, err := services.StartRabbitMQ(t.Context(), t.TempDir(), services.Options{})
	if err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	t.Cleanup(func() {
		if err := srv.Kill(); err != nil {
			t.Errorf("kill the broker: %v", err)
		}
	})
	control := func(args ...string) {
		t.Helper()
		if err := srv.Control(t.Context(), args...); err != nil {
			t.Fatalf("rabbitmqctl %s: %v", strings.Join(args, " "), err)
		}
	}
	tr := mustDial(t, bus.AMQPConfig{URL: srv.URL(), Topology: events.Topology{}})
	stored := make(chan struct{}, 1)
	bustest.Consume(t, tr, options(), func(_ context.Context, ds []bus.Delivery) []error {
		stored <- struct{}{}
		return make([]error, len(ds))
	})
	b := broker{tr: tr}
	b.ready(t)
	process := fmt.Sprintf("'%%2F_%s'", events.Topology{}.MessageSentQueue()) // the queue's replica on this node
	control("eval", "sys:suspend("+process+").")
	control("close_all_connections", "so that it is consumed anew")
	rabbit.Eventually(t, "the silence is told", func() bool {
		err := tr.Ready()
		return errors.Is(err, bus.ErrNotConsuming) && strings.Contains(err.Error(), "no leader")
	})
	control("eval", "sys:resume("+process+").")
	b.ready(t)
	if err := b.publishSoon(t, 1); err != nil {
		t.Fatalf("publish: %v", err)
	}
	bustest.Await(t, "the event", stored)
}
