package bus_test

import (
	"maps"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/outbox"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

// What the relay is given in the services.
var _ bus.Source = (*outbox.Relay)(nil)

func TestConformanceInProcess(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(*testing.T) bustest.Env {
		tr := bus.NewInProcess(nil)
		return bustest.Env{Transport: tr, Dead: func(testing.TB) []bustest.DeadLetter {
			var out []bustest.DeadLetter
			for _, m := range tr.Dead() {
				out = append(out, bustest.DeadLetter{ID: m.UUID, Headers: headers(m.Metadata), Body: m.Payload})
			}
			return out
		}}
	})
}

func TestConformanceAMQP(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T) bustest.Env {
		url, topology := rabbit.URL(t), rabbit.Topology(t)
		tr := mustDial(t, bus.AMQPConfig{URL: url, Topology: topology})
		return bustest.Env{Transport: tr, Waits: true, Dead: func(tb testing.TB) []bustest.DeadLetter {
			return deadLetters(tb, url, topology)
		}}
	})
}

func headers(m message.Metadata) map[string]string {
	out := make(map[string]string)
	maps.Copy(out, m)
	return out
}

func mustDial(t *testing.T, cfg bus.AMQPConfig) bus.Transport {
	t.Helper()
	tr, err := bus.DialAMQP(t.Context(), cfg)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tr
}

// deadLetters looks at the poison queue and leaves everything in it.
func deadLetters(tb testing.TB, url string, topology events.Topology) []bustest.DeadLetter {
	tb.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatalf("open a channel: %v", err)
	}
	var out []bustest.DeadLetter
	for {
		d, ok, err := ch.Get(topology.DeadLetterQueue(), false)
		if err != nil {
			tb.Fatalf("look at the dead letters: %v", err)
		}
		if !ok {
			return out
		}
		h := make(map[string]string)
		for k, v := range d.Headers {
			if s, ok := v.(string); ok {
				h[k] = s
			}
		}
		out = append(out, bustest.DeadLetter{ID: d.MessageId, Headers: h, Body: d.Body})
	}
}
