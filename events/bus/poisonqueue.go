package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// Bounds of one look at the poison queue.
const (
	// PoisonQueueLook is how many letters one [PoisonQueue.Scan] sees: a consumer's prefetch ends there. What was dropped
	// or replayed makes room for the next look.
	PoisonQueueLook = 65_535
	replayWindow    = 256     // letters published together, before any of them is acknowledged
	replayBytes     = 4 << 20 // of their bodies
	lookIdle        = 5 * time.Second
)

// Errors of a [PoisonQueue]; test with errors.Is.
var (
	ErrNoPoisonQueue   = errors.New("no such poison queue")
	ErrPoisonQueueBusy = errors.New("somebody else works on the poison queue")
)

// Verdict is what shall become of a dead letter.
type Verdict int

// Verdicts.
const (
	Keep   Verdict = iota // it stays as it is
	Drop                  // it is removed
	Replay                // its event is published again, and only then is it removed
)

// Scanned tells of one [PoisonQueue.Scan].
type Scanned struct {
	There    int // letters in the queue when it began
	Seen     int
	Dropped  int
	Replayed int
}

// PoisonQueue is an operator's hand on the dead letters in RabbitMQ. It has one connection, which it does not make again;
// replaying adds one for publishing. Its methods are to be called one at a time.
type PoisonQueue struct {
	cfg       AMQPConfig
	conn      *amqp.Connection
	raw       net.Conn
	publish   *link // nil before the first replay
	events    *publisher
	beforeAck func() // of tests: the events are published, their letters still there
}

// OpenPoisonQueue connects once, and declares nothing. Its error is one line for a person, without the password.
func OpenPoisonQueue(ctx context.Context, cfg AMQPConfig) (*PoisonQueue, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &link{name: "dead letters", cfg: cfg, bare: true, log: cfg.Logger, ctx: ctx}
	conn, raw, err := l.open()
	if err != nil {
		return nil, Explain(cfg.host(), err)
	}
	return &PoisonQueue{cfg: cfg, conn: conn, raw: raw}, nil
}

// Close ends the connections. What was not acknowledged is in the queue again.
func (q *PoisonQueue) Close() error {
	if q.publish != nil {
		q.publish.close()
	}
	_ = q.conn.CloseDeadline(time.Now().Add(closeWithin)) // a dead peer must not hold up the end
	_ = q.raw.Close()
	return nil
}

// Scan shows the letters that are there, oldest first, and does to each what visit says; it ends when visit wants no more.
// Letters that come meanwhile, replayed ones that are refused again among them, are left to the next Scan.
//
// A letter is held without an acknowledgement and goes back when Scan ends, or the process does: a look loses nothing and
// changes neither order nor content. What the broker counts by itself (x-delivery-count) has no consequence, see
// noDeliveryLimit. One Scan works on a queue at a time; a second one gets [ErrPoisonQueueBusy].
//
// With an error, the counts tell what was asked of the broker before it, and some of it may not have been done. A letter is
// acknowledged after its event was confirmed, so a crash between the two leaves both, and the consumer stores what comes
// twice once.
func (q *PoisonQueue) Scan(ctx context.Context, visit func(events.DeadLetter) (v Verdict, more bool)) (s Scanned, err error) {
	// The library's calls have no end of their own.
	defer context.AfterFunc(ctx, func() { _ = q.raw.Close() })()
	control, err := q.lock()
	if err != nil {
		return s, q.because(ctx, err)
	}
	defer func() {
		_, uerr := control.QueueDelete(q.cfg.Topology.DeadLetterLock(), false, false, false)
		if cerr := control.Close(); err == nil {
			err = q.because(ctx, errors.Join(uerr, cerr))
		}
	}()
	look := &look{q: q, control: control, gone: map[string]struct{}{}}
	if err := look.run(ctx, visit); err != nil || len(look.gone) == 0 {
		return look.Scanned, q.because(ctx, err)
	}
	return look.Scanned, q.because(ctx, look.again(ctx))
}

// lock takes the poison queue for this process alone, and returns a channel that holds no letters.
func (q *PoisonQueue) lock() (*amqp.Channel, error) {
	ch, err := q.conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	if _, err := q.state(ch); err != nil {
		return nil, err
	}
	_, err = ch.QueueDeclare(q.cfg.Topology.DeadLetterLock(), false, true, true, false, nil)
	var e *amqp.Error
	if errors.As(err, &e) && e.Code == amqp.ResourceLocked {
		return nil, fmt.Errorf("%s: %w %s; wait until that has ended", q.cfg.host(), ErrPoisonQueueBusy, q.cfg.Topology.DeadLetterQueue())
	}
	return ch, err
}

// state tells how many letters are ready to be delivered, and to how many consumers.
func (q *PoisonQueue) state(ch *amqp.Channel) (amqp.Queue, error) {
	name := q.cfg.Topology.DeadLetterQueue()
	state, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	var e *amqp.Error
	if errors.As(err, &e) && e.Code == amqp.NotFound {
		return state, fmt.Errorf("%s: %w %s; is the prefix right, and did a service ever run there?", q.cfg.host(), ErrNoPoisonQueue, name)
	}
	return state, err
}

// because prefers the end of ctx, which cuts the connection, over what the cut looks like.
func (q *PoisonQueue) because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
