package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/persister"
)

// broker is the RabbitMQ side of an examination.
type broker struct {
	// Immutable.
	url      string
	topology events.Topology
	tls      *tls.Config
	letters  *check // counts the dead letters

	// Written by reachable, and read by what needs it.
	conn    *amqp.Connection
	raw     net.Conn
	alarm   chan struct{} // closed when the broker refuses publishing; reason is written before
	reason  string
	watcher sync.WaitGroup // writes alarm, and ends with conn

	// Each written by its check, and read by what needs that.
	sent, dead amqp.Queue
}

const (
	oldestRabbitMQMajor, oldestRabbitMQMinor = 3, 10

	closeWithin    = 2 * time.Second
	restart        = "start a chat room or a persister again: both declare what is missing"
	grantConfigure = "let the user of RABBITMQ_URL configure, write and read the names of this topology (rabbitmqctl set_permissions)"
)

func (e *Examination) addBroker(c Config) *broker {
	b := &broker{url: c.BrokerURL, topology: c.Topology, tls: c.BrokerTLS, alarm: make(chan struct{})}
	reachable := e.add(sectionBroker, "reachable", b.reachable)
	e.onClose(b.close)
	e.add(sectionBroker, "version", b.version, reachable)
	exchanges := e.add(sectionBroker, "exchanges", b.exchanges, reachable)
	sent := e.add(sectionBroker, "events queue", b.queue(bus.MessageSentQueue(c.Topology), &b.sent), reachable)
	dead := e.add(sectionBroker, "poison queue", b.queue(bus.DeadLetterQueue(c.Topology), &b.dead), reachable)
	consumers := e.add(sectionBroker, "consumers", b.consumers, sent)
	e.add(sectionBroker, "events binding", b.eventsBinding, exchanges, sent, consumers)
	// The letters are told among the messages, and counted before the probe of the binding passes through their queue.
	b.letters = newCheck(sectionMessages, "dead letters", b.deadLetters, dead)
	e.add(sectionBroker, "poison binding", b.poisonBinding, exchanges, dead, b.letters)
	e.add(sectionBroker, "confirm round trip", b.roundTrip, reachable)
	e.add(sectionBroker, "unroutable", b.unroutable, exchanges)
	return b
}

func (e *Examination) addDeadLetters(b *broker) { e.checks = append(e.checks, b.letters) }

// reachable connects. All checks share the connection, each on a channel of its own: a refused declaration closes one.
func (b *broker) reachable(ctx context.Context) outcome {
	u, err := amqp.ParseURI(b.url)
	if err != nil { // its text may hold the password
		return fail("correct RABBITMQ_URL", "RABBITMQ_URL is not a broker's URL, want amqp://user:password@host:5672/vhost")
	}
	start := time.Now()
	stop := func() bool { return true }
	conn, err := amqp.DialConfig(b.url, amqp.Config{
		TLSClientConfig: b.tls.Clone(), // the library writes the server's name into it
		Properties:      amqp.Table{"product": "go-chat", "connection_name": applicationName},
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				b.raw, stop = c, context.AfterFunc(ctx, func() { _ = c.Close() })
			}
			return c, err
		},
	})
	if err == nil && !stop() {
		err = errors.Join(context.Cause(ctx), conn.Close())
	}
	if err != nil {
		stop()
		if b.raw != nil {
			_ = b.raw.Close()
		}
		return failErr(bus.Explain(net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), err), "is this the address of a RabbitMQ?")
	}
	b.conn = conn
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	b.watcher.Go(func() {
		told := false
		for x := range blocked {
			if x.Active && !told {
				b.reason, told = cmp.Or(x.Reason, "no reason given"), true
				close(b.alarm)
				_ = b.raw.Close()
			}
		}
	})
	return ok("virtual host %s as %s, %s", u.Vhost, u.Username, took(start))
}

func (b *broker) close() {
	if b.conn == nil {
		return
	}
	_ = b.conn.CloseDeadline(time.Now().Add(closeWithin)) // a silent peer must not hold up the end
	_ = b.raw.Close()
	b.watcher.Wait()
}

// channel runs f on a channel of its own. The library's calls have no bound: the end of ctx cuts the connection, and so
// does an alarm, after which the broker reads nothing more from it.
func (b *broker) channel(ctx context.Context, f func(*amqp.Channel) error) error {
	defer context.AfterFunc(ctx, func() { _ = b.raw.Close() })()
	ch, err := b.conn.Channel()
	if err != nil {
		err = fmt.Errorf("open a channel: %w", err)
	} else {
		err = f(ch)
		_ = ch.Close() // a refused call has closed it
	}
	select {
	case <-b.alarm:
		if err != nil {
			return &blockedError{b.reason}
		}
	default:
	}
	return err
}

func (b *broker) version(context.Context) outcome {
	product, _ := b.conn.Properties["product"].(string)
	text, _ := b.conn.Properties["version"].(string)
	product, text = oneLine(product), oneLine(text)
	if product != "RabbitMQ" {
		return warn("use RabbitMQ", "%s %s is not RabbitMQ, on which go-chat is tested", product, text)
	}
	first, rest, _ := strings.Cut(text, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	if errors.Join(err1, err2) != nil {
		return warn("look what it is", "RabbitMQ has the odd version %s", text)
	}
	if major < oldestRabbitMQMajor || major == oldestRabbitMQMajor && minor < oldestRabbitMQMinor {
		return fail(fmt.Sprintf("upgrade RabbitMQ to %d.%d or newer", oldestRabbitMQMajor, oldestRabbitMQMinor), "RabbitMQ %s is too old", text)
	}
	return ok("RabbitMQ %s", text)
}

// exchanges looks for each, and then declares it as the services do, which an exchange that differs refuses.
func (b *broker) exchanges(ctx context.Context) outcome {
	all := bus.Exchanges(b.topology)
	for _, x := range all {
		err := b.channel(ctx, func(ch *amqp.Channel) error {
			if err := ch.ExchangeDeclarePassive(x.Name, x.Kind, true, false, false, false, nil); err != nil {
				return err
			}
			return x.Declare(ch)
		})
		if err != nil {
			return refused(err, "exchange "+x.Name, "stop the services, delete the exchange, and start them again: they declare it")
		}
	}
	return ok("%d, durable, as the services declare them", len(all))
}

// queue does the same with a queue, and keeps what it found.
func (b *broker) queue(q bus.Queue, found *amqp.Queue) func(context.Context) outcome {
	return func(ctx context.Context) outcome {
		err := b.channel(ctx, func(ch *amqp.Channel) (err error) {
			if *found, err = ch.QueueDeclarePassive(q.Name, true, false, false, false, nil); err != nil {
				return err
			}
			return q.Declare(ch)
		})
		if err != nil {
			save := ""
			if q.Name == b.topology.DeadLetterQueue() {
				save = "save its letters (gochat dead show --json > letters.jsonl), "
			}
			return refused(err, "queue "+q.Name, fmt.Sprintf("stop the services, %sdelete it (rabbitmqctl delete_queue -p '%s' %s) "+
				"and start them again: they declare it, and publish again what is not stored", save, b.conn.Config.Vhost, q.Name))
		}
		return ok("durable, quorum, as the services declare it: %s", q.Name)
	}
}

// refused tells what the broker said to a declaration. again mends one that is there and differs.
func refused(err error, what, again string) outcome {
	e, is := errorsAs[*amqp.Error](err)
	if !is {
		return probeFailed(err)
	}
	reason := oneLine(e.Reason)
	switch e.Code {
	case amqp.NotFound:
		return fail(restart, "%s is missing", what)
	case amqp.PreconditionFailed, amqp.ResourceLocked, amqp.NotAllowed:
		return fail(again, "%s is not what the services declare: %s", what, reason)
	case amqp.AccessRefused:
		return fail(grantConfigure, "%s: %s", what, reason)
	}
	return fail(elsewhere, "%s: %s", what, reason)
}

func (b *broker) consumers(context.Context) outcome {
	if b.sent.Consumers == 0 {
		return fail("start a persister: gochat persister; where one runs, its /readyz says why it takes nothing", "no persister takes from the events queue, where %s", waitThere(b.sent.Messages))
	}
	return ok("%s on the events queue, where %s", plural(int64(b.sent.Consumers), "consumer"), waitThere(b.sent.Messages))
}

func waitThere(n int) string {
	if n == 1 {
		return "1 message waits"
	}
	return fmt.Sprintf("%d messages wait", n)
}

// deadLetters looks twice, since another doctor's probe may pass through the queue.
func (b *broker) deadLetters(ctx context.Context) outcome {
	n := b.dead.Messages
	if n > 0 {
		pause := time.NewTimer(500 * time.Millisecond)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		again, err := b.count(ctx, b.dead.Name)
		if err != nil {
			return probeFailed(err)
		}
		n = min(n, again)
	}
	if n == 0 {
		return ok("none")
	}
	conflicts := 0
	if n <= readLetters { // where they cannot be read, they are counted all the same
		b.letter(ctx, func(l events.DeadLetter) { conflicts += conflict(l) })
	}
	return deadLetters(n, conflicts, b.dead.Name, "gochat dead list")
}

// Bounds of reading dead letters for their reasons: a look holds all of them for its time.
const (
	readLetters = 1000
	readWithin  = 2 * time.Second
)

// letter hands out the letters, as gochat dead list does, for a short time, or until somebody else works on them.
func (b *broker) letter(ctx context.Context, each func(events.DeadLetter)) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	q, err := bus.OpenPoisonQueue(ctx, bus.AMQPConfig{URL: b.url, Topology: b.topology, Instance: applicationName, TLS: b.tls.Clone()})
	if err != nil {
		return
	}
	defer func() { _ = q.Close() }() // it only looked
	_, _ = q.Scan(ctx, func(l events.DeadLetter) (bus.Verdict, bool) {
		each(l)
		return bus.Keep, true
	})
}

// conflict is 1 for a letter in whose place another event is stored.
func conflict(l events.DeadLetter) int {
	if strings.Contains(l.Reason, persister.ErrConflict.Error()) {
		return 1
	}
	return 0
}

// deadLetters judges n letters, which the command list shows. A conflict is worse than the others: it can be all that is left of an accepted message.
func deadLetters(n, conflicts int, where, list string) outcome {
	text := fmt.Sprintf("%s in %s", plural(int64(n), "dead letter"), where)
	if conflicts > 0 {
		return fail("do not drop those: "+list+" --reason \"another event is stored\"; see \"Dead letters\" and \"Who may publish\" in docs/operations.md",
			"%s, of which %d in conflict: another event is stored in the place of each, and may have displaced an accepted message", text, conflicts)
	}
	return fail(list+" tells why; see \"Dead letters\" in docs/operations.md", "%s", text)
}

func (b *broker) count(ctx context.Context, queue string) (n int, err error) {
	err = b.channel(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n = q.Messages
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count what is in %s: %w", queue, err)
	}
	return n, nil
}
