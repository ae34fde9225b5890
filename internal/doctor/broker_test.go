//go:build unix

package doctor

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/persister"
)

func lookAtBroker(t *testing.T, url string, topology events.Topology, within time.Duration) map[string]Report {
	t.Helper()
	e := &Examination{within: within}
	e.addDeadLetters(e.addBroker(Config{BrokerURL: url, Topology: topology}))
	all := found(t, e)
	for _, r := range all {
		if strings.Contains(r.Detail+r.Remedy, "geheim") {
			t.Errorf("%s tells the password: %+v", r.Name, r)
		}
	}
	return all
}

// declared makes the topology as the services do.
func declared(t *testing.T, ch *amqp.Channel, topology events.Topology) {
	t.Helper()
	for _, x := range bus.Exchanges(topology) {
		must(t, x.Declare(ch))
	}
	for _, q := range []bus.Queue{bus.MessageSentQueue(topology), bus.DeadLetterQueue(topology)} {
		must(t, q.Declare(ch))
		must(t, ch.QueueBind(q.Name, q.Key, q.Exchange, false, nil))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// consumed reads the persister's queue as a persister would, and counts what is not an empty batch.
func consumed(t *testing.T, ch *amqp.Channel, topology events.Topology) (probes, others *atomic.Int64) {
	t.Helper()
	got, err := ch.Consume(topology.MessageSentQueue(), "", true, false, false, false, nil)
	must(t, err)
	probes, others = new(atomic.Int64), new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d := range got {
			if parts, err := events.Split(d.ContentType, d.Body); err == nil && len(parts) == 0 {
				probes.Add(1)
			} else {
				others.Add(1)
			}
		}
	}()
	t.Cleanup(func() { _ = ch.Close(); <-ended })
	return probes, others
}

func TestAHealthyBroker(t *testing.T) {
	t.Parallel()
	url, topology := rabbit.URL(t), rabbit.Topology(t)
	ch := rabbit.Channel(t, url)
	declared(t, ch, topology)
	probes, others := consumed(t, rabbit.Channel(t, url), topology)
	all := lookAtBroker(t, url, topology, checkWithin)
	for name, r := range all {
		if r.Status != OK && name != "broker confirm round trip" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	want(t, all, "broker version", OK, "RabbitMQ ", "")
	if r := all["broker confirm round trip"]; r.Status > Warn || !strings.Contains(r.Detail, "confirmed in ") { // Warn: it took long
		t.Errorf("confirm round trip: %+v", r)
	}
	// Nothing is left: a shard each has had its empty batch, and both queues are empty.
	rabbit.Eventually(t, "the probes are consumed", func() bool { return probes.Load() == events.Shards })
	for _, name := range []string{topology.MessageSentQueue(), topology.DeadLetterQueue()} {
		if q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil || q.Messages != 0 {
			t.Errorf("%s: %d messages, %v", name, q.Messages, err)
		}
	}
	if others.Load() != 0 {
		t.Errorf("a persister got %d messages that are no probe", others.Load())
	}
}

func TestABrokenTopology(t *testing.T) {
	t.Parallel()
	url := rabbit.URL(t)
	for name, tt := range map[string]struct {
		breaks func(t *testing.T, ch *amqp.Channel, topology events.Topology)
		check  string
		status Status
		detail string
		remedy string
	}{
		"no persister": {
			func(*testing.T, *amqp.Channel, events.Topology) {},
			"broker consumers", Fail, "no persister takes from the events queue", "gochat persister",
		},
		"a queue that nobody reads is not asked for its binding": {
			func(*testing.T, *amqp.Channel, events.Topology) {},
			"broker events binding", Skipped, "because of ✗ broker consumers", "",
		},
		"a classic queue": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				_, err := ch.QueueDelete(topology.MessageSentQueue(), false, false, false)
				must(t, err)
				_, err = ch.QueueDeclare(topology.MessageSentQueue(), true, false, false, false, nil)
				must(t, err)
			},
			"broker events queue", Fail, "is not what the services declare", "rabbitmqctl delete_queue -p '/' ",
		},
		"a missing queue": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				_, err := ch.QueueDelete(topology.DeadLetterQueue(), false, false, false)
				must(t, err)
			},
			"broker poison queue", Fail, "is missing", "start a chat room or a persister again",
		},
		"an exchange that does not last": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				must(t, ch.ExchangeDelete(topology.FanoutExchange(), false, false))
				must(t, ch.ExchangeDeclare(topology.FanoutExchange(), "fanout", false, false, false, false, nil))
			},
			"broker exchanges", Fail, "is not what the services declare", "delete the exchange",
		},
		"a missing binding of the events": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				consumed(t, rabbit.Channel(t, url), topology)
				must(t, ch.QueueUnbind(topology.MessageSentQueue(), events.MessageSentBinding, topology.EventsExchange(), nil))
			},
			"broker events binding", Fail, "leads to no queue for message.sent.0, message.sent.1", "start a chat room or a persister again",
		},
		"a binding of one shard only": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				consumed(t, rabbit.Channel(t, url), topology)
				must(t, ch.QueueBind(topology.MessageSentQueue(), "message.sent.3", topology.EventsExchange(), false, nil))
				must(t, ch.QueueUnbind(topology.MessageSentQueue(), events.MessageSentBinding, topology.EventsExchange(), nil))
			},
			"broker events binding", Fail, "message.sent.2, message.sent.4", "start a chat room or a persister again",
		},
		"a missing binding of the poison queue": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				must(t, ch.QueueUnbind(topology.DeadLetterQueue(), topology.MessageSentQueue(), topology.DeadLetterExchange(), nil))
			},
			"broker poison binding", Fail, "does not lead to", "start a chat room or a persister again",
		},
		"a queue that is bound to everything": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				q, err := ch.QueueDeclare(topology.Prefix+"greedy", false, true, true, false, nil)
				must(t, err)
				must(t, ch.QueueBind(q.Name, "#", topology.EventsExchange(), false, nil))
			},
			"broker unroutable", Fail, "takes a message that is for nobody", "unbind",
		},
		"dead letters": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				bury(t, ch, topology)
			},
			"messages dead letters", Fail, "1 dead letter in ", "gochat dead list",
		},
		"a dead letter in conflict": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				must(t, ch.PublishWithContext(t.Context(), "", topology.DeadLetterQueue(), false, false,
					amqp.Publishing{Body: []byte("x"), Headers: amqp.Table{bus.HeaderReason: "ops/3: " + persister.ErrConflict.Error()}}))
				rabbit.Eventually(t, "the letter is there", func() bool {
					q, err := ch.QueueDeclarePassive(topology.DeadLetterQueue(), true, false, false, false, nil)
					return err == nil && q.Messages == 1
				})
			},
			"messages dead letters", Fail, "1 dead letter in ", "do not drop those",
		},
		"dead letters are not disturbed": {
			func(t *testing.T, ch *amqp.Channel, topology events.Topology) {
				bury(t, ch, topology)
			},
			"broker poison binding", Skipped, "because of ✗ messages dead letters", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topology := rabbit.Topology(t)
			ch := rabbit.Channel(t, url)
			declared(t, ch, topology)
			tt.breaks(t, ch, topology)
			want(t, lookAtBroker(t, url, topology, checkWithin), tt.check, tt.status, tt.detail, tt.remedy)
		})
	}
}

// bury puts a dead letter where it belongs.
func bury(t *testing.T, ch *amqp.Channel, topology events.Topology) {
	t.Helper()
	must(t, ch.Confirm(false))
	c, err := ch.PublishWithDeferredConfirm(topology.DeadLetterExchange(), topology.MessageSentQueue(), true, false, amqp.Publishing{Body: []byte("{}")})
	must(t, err)
	if acked, err := c.WaitContext(t.Context()); err != nil || !acked {
		t.Fatalf("not confirmed: %v", err)
	}
}

func TestABrokerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_ = l.Close() // nobody listens there now
	all := lookAtBroker(t, "amqp://ann:geheim@"+l.Addr().String()+"/v", events.Topology{}, checkWithin)
	want(t, all, "broker reachable", Fail, "cannot use "+l.Addr().String(), "is RabbitMQ running?")
	want(t, all, "messages dead letters", Skipped, "because of ✗ broker reachable", "")
	all = lookAtBroker(t, "amqp://ann:ge heim@host/v", events.Topology{}, checkWithin)
	want(t, all, "broker reachable", Fail, "is not a broker's URL", "RABBITMQ_URL")
	wrong := strings.Replace(rabbit.URL(t), "guest:guest@", "guest:geheim@", 1)
	all = lookAtBroker(t, wrong, events.Topology{}, checkWithin)
	want(t, all, "broker reachable", Fail, "403", "the password is wrong")
}

// A broker that takes the connection and says nothing more must not hold the doctor up.
func TestASilentBroker(t *testing.T) {
	t.Parallel()
	proxy := rabbit.NewProxy(t, rabbit.URL(t))
	proxy.Stall()
	all := lookAtBroker(t, proxy.URL(), events.Topology{}, 500*time.Millisecond)
	want(t, all, "broker reachable", Fail, "no answer within", "")
}

func TestABrokerThatRefusesPublishing(t *testing.T) {
	t.Parallel()
	srv, err := services.StartRabbitMQ(t.Context(), t.TempDir(), services.Options{
		Settings: map[string]string{"vm_memory_high_watermark.absolute": "1"}, // always above it
	})
	must(t, err)
	t.Cleanup(func() {
		if err := srv.Kill(); err != nil {
			t.Error(err)
		}
	})
	declared(t, rabbit.Channel(t, srv.URL()), events.Topology{})
	all := lookAtBroker(t, srv.URL(), events.Topology{}, checkWithin)
	want(t, all, "broker confirm round trip", Fail, "refuses publishing", "free disk or memory")
	must(t, srv.Stop(context.WithoutCancel(t.Context())))
	all = lookAtBroker(t, srv.URL(), events.Topology{}, checkWithin)
	want(t, all, "broker reachable", Fail, "connection refused", "is RabbitMQ running?")
}
