package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// letters is a poison queue in memory.
type letters struct {
	got []*message.Message
	err error
}

func (l *letters) Publish(_ string, msgs ...*message.Message) error {
	if l.err != nil {
		return l.err
	}
	l.got = append(l.got, msgs...)
	return nil
}

func (*letters) Close() error { return nil }

func chain(dead message.Publisher, o Options, h message.HandlerFunc) message.HandlerFunc {
	all := middlewares(dead, o)
	for _, a := range slices.Backward(all) {
		h = a(h)
	}
	return h
}

func TestOutageIsRetriedWithGrowingDelayThenNackedAfterADelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Retries: 6, RetryMin: 100 * time.Millisecond, RetryMax: time.Second, NackDelay: time.Minute}.withDefaults()
		start := time.Now()
		var tries []time.Duration
		dead := &letters{}
		h := chain(dead, o, func(*message.Message) ([]*message.Message, error) {
			tries = append(tries, time.Since(start))
			return nil, errors.New("database away")
		})
		_, err := h(message.NewMessage("m", nil))
		if err == nil {
			t.Error("handler: got nil, want an error that becomes a nack")
		}
		if got, want := len(tries), 7; got != want {
			t.Fatalf("tries: got %d, want %d", got, want)
		}
		longest := 100 * time.Millisecond
		for i := 1; i < len(tries); i++ {
			if wait := tries[i] - tries[i-1]; wait < longest/2 || wait > longest {
				t.Errorf("wait %d: got %v, want between %v and %v", i, wait, longest/2, longest)
			}
			longest = min(2*longest, time.Second)
		}
		if got, want := time.Since(start)-tries[len(tries)-1], time.Minute; got != want {
			t.Errorf("delay before the nack: got %v, want %v", got, want)
		}
		if len(dead.got) != 0 {
			t.Errorf("dead letters: got %d, want 0", len(dead.got))
		}
	})
}

func TestHandlerIsBoundedByATimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Retries: 1, HandlerTimeout: 3 * time.Second, NackDelay: time.Millisecond, RetryMin: time.Millisecond}.withDefaults()
		start := time.Now()
		h := chain(&letters{}, o, func(m *message.Message) ([]*message.Message, error) {
			<-m.Context().Done()
			return nil, m.Context().Err()
		})
		if _, err := h(message.NewMessage("m", nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("handler: got %v, want %v", err, context.DeadlineExceeded)
		}
		if got, least := time.Since(start), 6*time.Second; got < least {
			t.Errorf("two tries took %v, want at least %v: the second had no time of its own", got, least)
		}
	})
}

func TestStopEndsTheWaitingAndLeavesTheHandlerItsGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{StopWithin: 8 * time.Second, HandlerTimeout: time.Minute, NackDelay: time.Hour, RetryMin: time.Hour}.withDefaults()
		live, stop := context.WithCancel(t.Context())
		start := time.Now()
		h := chain(&letters{}, o, func(m *message.Message) ([]*message.Message, error) {
			stop()
			<-m.Context().Done()
			return nil, m.Context().Err()
		})
		m := message.NewMessage("m", nil)
		m.SetContext(live)
		if _, err := h(m); !errors.Is(err, context.Canceled) {
			t.Errorf("handler: got %v, want %v", err, context.Canceled)
		}
		if got, want := time.Since(start), 8*time.Second; got != want {
			t.Errorf("the stop took %v, want %v", got, want)
		}
	})
}

// Headers as RabbitMQ 3.10 and 4.0 (one count) and 4.3 (two, of which one leaves out what was given back) send them.
func TestAttemptsCountEarlierDeliveries(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		name     string
		headers  amqp.Table
		attempts string
	}{
		{"first", nil, "1"},
		{"count", amqp.Table{"x-delivery-count": int64(3)}, "4"},
		{"given back", amqp.Table{"x-acquired-count": int64(3)}, "4"},
		{"given back and lost", amqp.Table{"x-delivery-count": int64(1), "x-acquired-count": int64(4)}, "5"},
	} {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			m, err := received(amqp.Delivery{Acknowledger: &amqp.Channel{}, Headers: step.headers})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := m.Metadata[metaRedelivered] != "", step.headers != nil; got != want {
				t.Errorf("redelivered: got %t, want %t", got, want)
			}
			dead := &letters{}
			h := chain(dead, Options{}.withDefaults(), func(*message.Message) ([]*message.Message, error) {
				bad := rejectedEvent{from: m, contentType: events.ContentType, err: errors.New("text too long")}
				return nil, events.Permanent(&rejected{events: []rejectedEvent{bad}})
			})
			if _, err := h(m); err != nil || len(dead.got) != 1 {
				t.Fatalf("got %v and %d dead letters, want 1", err, len(dead.got))
			}
			if got := dead.got[0].Metadata[HeaderAttempts]; got != step.attempts {
				t.Errorf("attempts: got %s, want %s", got, step.attempts)
			}
		})
	}
}

// If the poison queue cannot be reached, the message must not be lost.
func TestPoisonThatCannotBePutAwayIsNacked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead := &letters{err: ErrNotConnected}
		h := chain(dead, Options{}.withDefaults(), func(m *message.Message) ([]*message.Message, error) {
			return nil, handleMessage(m, func(_ context.Context, ds []Delivery) []error {
				return []error{events.Permanent(errors.New("bad"))}
			}, slog.New(slog.DiscardHandler))
		})
		m := message.NewMessage("m", []byte("{}"))
		if _, err := h(m); !errors.Is(err, ErrNotConnected) {
			t.Errorf("handler: got %v, want %v", err, ErrNotConnected)
		}
		dead.err = nil
		if _, err := h(m); err != nil || len(dead.got) != 1 {
			t.Errorf("handler: got %v and %d dead letters, want nil and 1", err, len(dead.got))
		}
	})
}

// An outage of one event keeps the whole message; nothing of it is poisoned yet.
func TestOutageGoesBeforePoison(t *testing.T) {
	t.Parallel()
	m := message.NewMessage("m", []byte(`[{},{},{}]`))
	answers := []error{events.Permanent(errors.New("bad")), errors.New("away"), nil}
	err := handleMessage(m, func(context.Context, []Delivery) []error { return answers }, slog.New(slog.DiscardHandler))
	if err == nil || events.IsPermanent(err) {
		t.Errorf("got %v, want an error that is not permanent", err)
	}
	err = handleMessage(m, func(context.Context, []Delivery) []error { return answers[:1] }, slog.New(slog.DiscardHandler))
	if err == nil || events.IsPermanent(err) {
		t.Errorf("wrong number of answers: got %v, want an error that is not permanent", err)
	}
}

func TestPhantomDeliveryIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := received(amqp.Delivery{}); !errors.Is(err, errPhantom) {
		t.Errorf("got %v, want %v", err, errPhantom)
	}
}

// The broker's notice of an alarm and of its end, without a broker.
func TestLinkTellsAlarmAndItsEnd(t *testing.T) {
	t.Parallel()
	l := &link{log: slog.New(slog.DiscardHandler), ctx: t.Context(), up: make(chan struct{}), alarm: make(chan struct{})}
	l.set(&amqp.Connection{}, nil, nil)
	for range 2 {
		l.setBlocked(amqp.Blocking{Active: true, Reason: "low on memory"})
		l.setBlocked(amqp.Blocking{Active: true, Reason: "low on disk"})
		if err := l.ready(); !errors.Is(err, ErrBlocked) {
			t.Errorf("alarm: got %v, want %v", err, ErrBlocked)
		}
		select {
		case <-l.alarmed():
		default:
			t.Error("alarm: not signalled")
		}
		l.setBlocked(amqp.Blocking{})
		if err := l.ready(); err != nil {
			t.Errorf("after the alarm: got %v, want nil", err)
		}
		select {
		case <-l.alarmed():
			t.Error("after the alarm: still signalled")
		default:
		}
	}
}
