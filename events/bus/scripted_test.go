package bus_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/scripted"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// counted is what the publisher reports.
type counted struct{ published, confirmed, returned atomic.Int64 }

// play dials a broker that follows a script from now on.
func play(t *testing.T, within time.Duration, s scripted.Script) (*scripted.Broker, broker, *counted) {
	t.Helper()
	fake, n := scripted.Start(t, scripted.Script{}), &counted{}
	tr := mustDial(t, bus.AMQPConfig{
		URL: fake.URL(), RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond, ConfirmWithin: within,
		Metrics: bus.Metrics{
			Published: func(k int) { n.published.Add(int64(k)) },
			Confirmed: func(k int) { n.confirmed.Add(int64(k)) },
			Returned:  func(k int) { n.returned.Add(int64(k)) },
		},
	})
	b := broker{tr: tr}
	b.ready(t)
	fake.Play(s)
	return fake, b, n
}

// window plays a function when the third message of a channel has come; before that it confirms nothing.
func window(f func(c *scripted.Conn, ps []scripted.Publishing)) scripted.Script {
	var ps []scripted.Publishing
	return scripted.Script{Publish: func(c *scripted.Conn, p scripted.Publishing) {
		if ps = append(ps, p); len(ps) == 3 {
			f(c, ps)
		}
	}}
}

// publishSoon is publish, and fails when it takes long.
func (b broker) publishSoon(t *testing.T, seqs ...int64) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- b.publish(t, seqs...) }()
	return bustest.Await(t, "answer of Publish", done)
}

// What Publish says of a window of three, whatever the broker answers, and that the next window passes: the failure took
// nothing with it.
func TestWindowIsPublishedOnlyWhenAllIsConfirmedAndNothingReturned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		script    func(c *scripted.Conn, ps []scripted.Publishing)
		want      []error // none: published
		says      string
		confirmed int64
		within    time.Duration // for the confirms; default: a minute
	}{
		{name: "in order", confirmed: 3, script: func(c *scripted.Conn, ps []scripted.Publishing) {
			c.Ack(ps[0].Channel, 1, false)
			c.Ack(ps[0].Channel, 2, false)
			c.Ack(ps[0].Channel, 3, false)
		}},
		{name: "out of order", confirmed: 3, script: func(c *scripted.Conn, ps []scripted.Publishing) {
			c.Ack(ps[0].Channel, 3, false)
			c.Ack(ps[0].Channel, 1, false)
			c.Ack(ps[0].Channel, 2, false)
		}},
		{name: "the last one, then all up to the second", confirmed: 3, script: func(c *scripted.Conn, ps []scripted.Publishing) {
			c.Ack(ps[0].Channel, 3, false)
			c.Ack(ps[0].Channel, 2, true)
		}},
		{name: "all at once", confirmed: 3, script: func(c *scripted.Conn, ps []scripted.Publishing) { c.Ack(ps[0].Channel, 3, true) }},
		{
			name: "one returned before its confirm", want: []error{bus.ErrUnroutable}, says: "1 of 3 returned: NO_ROUTE", confirmed: 2,
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				c.Ack(ps[0].Channel, 1, false)
				c.Return(ps[1])
				c.Ack(ps[0].Channel, 2, false)
				c.Ack(ps[0].Channel, 3, false)
			},
		},
		{
			name: "all returned and confirmed at once", want: []error{bus.ErrUnroutable}, says: "3 of 3 returned",
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				for _, p := range ps {
					c.Return(p)
				}
				c.Ack(ps[0].Channel, 3, true)
			},
		},
		{
			name: "one refused", want: []error{bus.ErrUnconfirmed}, says: "refused 1 of 3", confirmed: 2,
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				c.Ack(ps[0].Channel, 1, false)
				c.Nack(ps[0].Channel, 2, false)
				c.Ack(ps[0].Channel, 3, false)
			},
		},
		{
			name: "all refused at once", want: []error{bus.ErrUnconfirmed}, says: "refused 3 of 3",
			script: func(c *scripted.Conn, ps []scripted.Publishing) { c.Nack(ps[0].Channel, 3, true) },
		},
		{
			name: "one confirm never comes", want: []error{bus.ErrUnconfirmed, bus.ErrTimeout}, within: 300 * time.Millisecond,
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				c.Ack(ps[0].Channel, 1, false)
				c.Ack(ps[0].Channel, 3, false)
			},
		},
		{
			name: "the connection is cut", want: []error{bus.ErrUnconfirmed},
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				c.Ack(ps[0].Channel, 2, true)
				c.Cut()
			},
		},
		{
			name: "the channel is closed", want: []error{bus.ErrUnconfirmed}, says: "no exchange",
			script: func(c *scripted.Conn, ps []scripted.Publishing) {
				c.Ack(ps[0].Channel, 1, false)
				c.CloseChannel(ps[0].Channel, 404, "NOT_FOUND - no exchange", scripted.BasicPublish)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake, b, n := play(t, cmp.Or(c.within, time.Minute), window(c.script))
			err := b.publishSoon(t, 1, 2, 3)
			if len(c.want) == 0 && err != nil {
				t.Errorf("published: got %v, want nil", err)
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("published: got %v, want %v", err, want)
				}
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("published: got %v, want it to say %q", err, c.says)
			}
			if got := n.confirmed.Load(); got != c.confirmed {
				t.Errorf("reported as confirmed: got %d, want %d", got, c.confirmed)
			}
			fake.Play(scripted.Script{})
			b.ready(t)
			rabbit.Eventually(t, "the next window passes", func() bool { return b.publishSoon(t, 1, 2, 3) == nil })
		})
	}
}

// The relay learns of a window that is not published, and publishes it again.
func TestRelayPublishesAgainWhatTheBrokerDidNotTake(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(c *scripted.Conn, p scripted.Publishing){
		"returned": func(c *scripted.Conn, p scripted.Publishing) { c.Return(p); c.Ack(p.Channel, p.Tag, false) },
		"refused":  func(c *scripted.Conn, p scripted.Publishing) { c.Nack(p.Channel, p.Tag, false) },
		"cut":      func(c *scripted.Conn, _ scripted.Publishing) { c.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			fake, b, _ := play(t, time.Second, scripted.Script{})
			fake.Play(scripted.Script{Publish: func(c *scripted.Conn, p scripted.Publishing) {
				if seen.Add(1) == 1 {
					script(c, p)
					return
				}
				c.Ack(p.Channel, p.Tag, false)
			}})
			src := bustest.NewSource(1)
			bustest.Relay(t, b.tr, src)
			src.Windows <- outbox.Window{Rows: bustest.Rows(t, "ops", 1, 3)}
			if err := bustest.Await(t, "failed window", src.Fails); err == nil {
				t.Error("failed without an error")
			}
			if w := bustest.Await(t, "window that is done", src.Dones); len(w.Rows) != 3 {
				t.Errorf("done: got %d rows, want 3", len(w.Rows))
			}
		})
	}
}

// An alarm in the middle of a window ends the waiting at once; when it is over, everything goes on.
func TestAlarmInTheMiddleOfAWindow(t *testing.T) {
	t.Parallel()
	fake, b, _ := play(t, time.Minute, window(func(c *scripted.Conn, ps []scripted.Publishing) {
		c.Ack(ps[0].Channel, 1, false)
		c.Block("low on disk")
	}))
	if err := b.publishSoon(t, 1, 2, 3); !errors.Is(err, bus.ErrUnconfirmed) || !errors.Is(err, bus.ErrBlocked) {
		t.Errorf("published: got %v, want %v and %v", err, bus.ErrUnconfirmed, bus.ErrBlocked)
	}
	if err := b.tr.Ready(); !errors.Is(err, bus.ErrBlocked) || !strings.Contains(err.Error(), "low on disk") {
		t.Errorf("ready: got %v, want the alarm and its reason", err)
	}
	if err := b.publishSoon(t, 1); !errors.Is(err, bus.ErrBlocked) {
		t.Errorf("published during the alarm: got %v, want %v", err, bus.ErrBlocked)
	}
	closed := make(chan struct{}, 8)
	fake.Play(scripted.Script{Method: func(_ *scripted.Conn, m scripted.Method) bool {
		if m.ID == scripted.ChannelClose {
			closed <- struct{}{}
		}
		return false
	}})
	fake.Each(func(c *scripted.Conn) { c.Block("") })
	b.ready(t)
	if err := b.publishSoon(t, 1, 2, 3); err != nil {
		t.Errorf("published after the alarm: %v", err)
	}
	bustest.Await(t, "close of the channel whose confirms no longer line up", closed)
}

// A declaration that the broker refuses is told, with what it said, and tried until it passes.
func TestRefusedDeclarationIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code uint16
		text string
	}{
		{406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'"},
		{405, "RESOURCE_LOCKED - cannot obtain exclusive access"},
	} {
		t.Run(c.text[:15], func(t *testing.T) {
			t.Parallel()
			fake := scripted.Start(t, scripted.Script{Method: func(conn *scripted.Conn, m scripted.Method) bool {
				if m.ID == scripted.QueueDeclare {
					conn.CloseChannel(m.Channel, c.code, c.text, m.ID)
				}
				return m.ID == scripted.QueueDeclare
			}})
			b := broker{tr: mustDial(t, bus.AMQPConfig{URL: fake.URL(), RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond})}
			rabbit.Eventually(t, "the reason is told", func() bool {
				err := b.tr.Ready()
				return errors.Is(err, bus.ErrNotConnected) && strings.Contains(err.Error(), c.text)
			})
			fake.Play(scripted.Script{})
			b.ready(t)
			if err := b.publishSoon(t, 1); err != nil {
				t.Errorf("published: %v", err)
			}
		})
	}
}

// The fan-out's queue is exclusive: while the broker still takes its old connection for alive, the queue is locked.
func TestFanoutWaitsForItsLockedQueue(t *testing.T) {
	t.Parallel()
	consumed := make(chan struct{}, 1)
	var tries atomic.Int64
	_, b, _ := play(t, time.Second, scripted.Script{Method: func(c *scripted.Conn, m scripted.Method) bool {
		switch {
		case m.ID == scripted.QueueDeclare && m.Name() == events.Topology{}.FanoutQueue("replica") && tries.Add(1) < 4:
			c.CloseChannel(m.Channel, 405, "RESOURCE_LOCKED", m.ID)
			return true
		case m.ID == scripted.BasicConsume:
			consumed <- struct{}{}
		}
		return false
	}})
	bustest.Start(t, "fan-out", func(ctx context.Context) error {
		return bus.RunFanout(ctx, b.tr, "replica", func(context.Context, events.Envelope) {}, options())
	})
	bustest.Await(t, "consumer", consumed)
}

// consuming is a consumer of a scripted broker.
type consuming struct {
	conn    *scripted.Conn
	channel uint16
}

// consume starts a consumer that passes on what it gets, and returns where new consumers and settlements are seen.
func consume(t *testing.T) (consumers <-chan consuming, acks <-chan uint64, got <-chan bus.Delivery) {
	t.Helper()
	seen, acked, out := make(chan consuming, 100), make(chan uint64, 100), make(chan bus.Delivery, 100)
	_, b, _ := play(t, time.Second, scripted.Script{Method: func(c *scripted.Conn, m scripted.Method) bool {
		switch m.ID {
		case scripted.BasicConsume:
			c.Answer(m)
			seen <- consuming{c, m.Channel}
			return true
		case scripted.BasicAck:
			if !m.Multiple() {
				t.Error("acknowledged a message alone")
			}
			acked <- m.DeliveryTag()
		}
		return false
	}})
	o := options()
	o.Handlers = 1
	bustest.Consume(t, b.tr, o, func(_ context.Context, ds []bus.Delivery) []error {
		for _, d := range ds {
			out <- d
		}
		return make([]error, len(ds))
	})
	return seen, acked, out
}

// A consumer that the broker takes back, or whose connection is cut, comes again, and no message comes from nowhere.
func TestConsumerThatIsTakenBackComesAgain(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c consuming){
		"cancelled": func(c consuming) { c.conn.Cancel(c.channel, "gochat") },
		"channel closed": func(c consuming) {
			c.conn.CloseChannel(c.channel, 406, "PRECONDITION_FAILED - unknown delivery tag", scripted.BasicAck)
		},
		"cut": func(c consuming) { c.conn.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			consumers, acks, got := consume(t)
			for range 3 {
				c := bustest.Await(t, "consumer", consumers)
				c.conn.Deliver(c.channel, "gochat", 1, "message.sent.1",
					scripted.MessageProperties(events.ContentType, scripted.Table(), "ops/1"), bustest.MessageSent(t, "ops", 1))
				bustest.Await(t, "event", got)
				bustest.Await(t, "acknowledgement", acks)
				end(c)
			}
			if len(got) > 0 {
				t.Errorf("an event from nowhere: %s", (<-got).Raw)
			}
		})
	}
}

// Headers of every type that AMQP knows, nested ones too, arrive with their event, and it is acknowledged.
func TestOddHeadersDoNotBreakDelivery(t *testing.T) {
	t.Parallel()
	consumers, acks, got := consume(t)
	c := bustest.Await(t, "consumer", consumers)
	inner := scripted.Table(
		scripted.Field("count", 'l', scripted.Long64(3)), scripted.Field("time", 'T', scripted.Long64(1_790_000_000)))
	headers := scripted.Table(
		scripted.Field("x-death", 'A', scripted.Long(string(append([]byte{'F'}, inner...)))),
		scripted.Field("nested", 'F', inner),
		scripted.Field("x-delivery-count", 'l', scripted.Long64(2)),
		scripted.Field("int8", 'b', scripted.Octet(0xff)), scripted.Field("int16", 's', scripted.Short16(7)),
		scripted.Field("int32", 'I', scripted.Long32(7)), scripted.Field("bool", 't', scripted.Bit(true)),
		scripted.Field("float", 'f', scripted.Long32(0x40490fdb)), scripted.Field("double", 'd', scripted.Long64(0x400921fb54442d18)),
		scripted.Field("decimal", 'D', append(scripted.Octet(2), scripted.Long32(314)...)),
		scripted.Field("time", 'T', scripted.Long64(1_790_000_000)),
		scripted.Field("bytes", 'x', scripted.Long("\x00\xff")), scripted.Field("void", 'V', nil),
		scripted.Field("text", 'S', scripted.Long("text")),
	)
	c.conn.Deliver(c.channel, "gochat", 1, "message.sent.1",
		scripted.MessageProperties(events.ContentType, headers, "ops/1"), bustest.MessageSent(t, "ops", 1))
	if d := bustest.Await(t, "event", got); !d.Redelivered {
		t.Error("x-delivery-count is 2: got a first delivery, want a repeated one")
	}
	if tag := bustest.Await(t, "acknowledgement", acks); tag != 1 {
		t.Errorf("acknowledged: got %d, want 1", tag)
	}
}

// What arrives while a handler works is acknowledged with one call, and never before its own handler is done.
func TestBundleIsAcknowledgedAtOnce(t *testing.T) {
	t.Parallel()
	const n = 40
	consumers, acks, got := consume(t)
	c := bustest.Await(t, "consumer", consumers)
	for tag := uint64(1); tag <= n; tag++ {
		c.conn.Deliver(c.channel, "gochat", tag, "message.sent.1",
			scripted.MessageProperties(events.ContentType, scripted.Table(), events.EventID("ops", int64(tag))), bustest.MessageSent(t, "ops", int64(tag)))
	}
	var acked uint64
	for acked < n {
		tag := bustest.Await(t, "acknowledgement", acks)
		if tag <= acked {
			t.Fatalf("acknowledged %d after %d", tag, acked)
		}
		for ; acked < tag; acked++ {
			select {
			case <-got:
			default:
				t.Fatalf("acknowledged up to %d, handled only %d", tag, acked)
			}
		}
	}
}
