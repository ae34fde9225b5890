//go:build unix

package bus_test

import (
	"errors"
	"testing"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// A broker with an alarm takes no messages: the transport says so, a publish fails soon instead of hanging, and the
// relay takes no further window.
func TestBrokerAlarmIsNotReadyAndPausesTheRelay(t *testing.T) {
	t.Parallel()
	srv, err := services.StartRabbitMQ(t.Context(), t.TempDir(), services.Options{
		Settings: map[string]string{"vm_memory_high_watermark.absolute": "1"}, // always above it
	})
	if err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	t.Cleanup(func() {
		if err := srv.Kill(); err != nil {
			t.Errorf("kill the broker: %v", err)
		}
	})
	tr := mustDial(t, bus.AMQPConfig{URL: srv.URL(), Topology: events.Topology{}})
	b := broker{tr: tr}
	b.ready(t) // the broker tells of its alarm at the first publish
	src := bustest.NewSource(2)
	stop := bustest.Relay(t, tr, src)
	src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", 1, 10)}
	src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", 11, 20)}
	if err := bustest.Await(t, "failed window", src.Fails); !errors.Is(err, bus.ErrBlocked) {
		t.Errorf("window: got %v, want %v", err, bus.ErrBlocked)
	}
	if err := tr.Ready(); !errors.Is(err, bus.ErrBlocked) {
		t.Errorf("ready: got %v, want %v", err, bus.ErrBlocked)
	}
	if err := b.publish(t, 1); !errors.Is(err, bus.ErrBlocked) {
		t.Errorf("publish: got %v, want %v", err, bus.ErrBlocked)
	}
	for range 5000 {
		if err := bus.Broadcast(tr, "live", []byte("{}")); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
	}
	if got := len(src.Windows); got != 1 {
		t.Errorf("windows not taken: got %d, want 1", got)
	}
	stop()
	select {
	case err := <-src.Fails:
		t.Errorf("the relay tried again during the alarm: %v", err)
	default:
	}
}
