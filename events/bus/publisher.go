package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

const (
	// publishChannels bounds how many Publish calls are under way at once; more wait their turn.
	publishChannels = 8
	// publishWindow bounds how many messages await their confirms on one channel. A longer call goes in parts.
	publishWindow = 1024
)

// publisher is a Watermill publisher with pipelined confirms: it sends a whole window, then waits for all confirms.
// watermill-amqp waits after each message, which costs a round trip (and on a quorum queue an fsync) a message, and
// does not see what the broker returns. Each call has a channel to itself while it lasts, so its order is kept, and
// every return that arrives on that channel before the last confirm is one of its own.
type publisher struct {
	link     *link
	exchange string
	within   time.Duration // for a whole call
	metrics  Metrics
	slots    chan struct{}        // one token a channel in use
	idle     chan *confirmChannel // channels that nobody uses

	mu    sync.Mutex
	stale []*confirmChannel // given up during an alarm of the broker, to be closed after it
	quiet time.Time         // no publishing before, since a queue was gone
}

// confirmChannel is a channel in confirm mode. It is thrown away after any failure, since its confirms no longer line up.
type confirmChannel struct {
	*amqp.Channel
	conn     *amqp.Connection
	confirms chan amqp.Confirmation // as long as the window: the library's reader must never block on it
	returns  chan amqp.Return       // likewise; the broker sends a return before that message's confirm
	closed   chan *amqp.Error
}

func newPublisher(l *link, exchange string, within time.Duration, m Metrics) *publisher {
	return &publisher{
		link: l, exchange: exchange, within: within, metrics: m,
		slots: make(chan struct{}, publishChannels), idle: make(chan *confirmChannel, publishChannels),
	}
}

// Publish sends msgs with topic as their routing key and returns nil when the broker has confirmed all and returned
// none. It takes at most the time given at construction, less if the first message's context ends before.
func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(msgs[0].Context(), p.within, ErrTimeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return fmt.Errorf("publish %d to %s: %w", len(msgs), p.exchange, context.Cause(ctx))
	}
	ch, err := p.take(ctx)
	if err != nil {
		return fmt.Errorf("publish %d to %s: %w", len(msgs), p.exchange, err)
	}
	// A write into a socket that nobody reads has no end of its own: cutting the connection gives it one.
	stop := context.AfterFunc(ctx, func() { p.link.cut(ch.conn) })
	defer stop()
	for rest := msgs; len(rest) > 0 && err == nil; {
		part := rest[:min(len(rest), publishWindow)]
		rest = rest[len(part):]
		err = p.window(ctx, ch, topic, part)
	}
	switch {
	case errors.Is(err, ErrBlocked):
		// The broker reads nothing now, a close would hang. What was sent is published when the alarm is over.
		p.mu.Lock()
		p.stale = append(p.stale, ch)
		p.mu.Unlock()
	case err != nil:
		p.discard(ch)
	}
	if errors.Is(err, ErrUnroutable) {
		p.mu.Lock()
		p.quiet = time.Now().Add(redeclareAfter)
		p.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("publish %d to %s: %w", len(msgs), p.exchange, err)
	}
	p.idle <- ch // has room for every slot
	return nil
}

// Close does nothing: the publisher is shared, and its transport owns the connection.
func (p *publisher) Close() error { return nil }

// take returns an idle channel or opens one. A fresh one declares the topology first, so that a queue that was deleted
// while everybody was connected comes back with the first failure.
func (p *publisher) take(ctx context.Context) (*confirmChannel, error) {
	if err := p.link.ready(); errors.Is(err, ErrBlocked) {
		return nil, err
	}
	p.mu.Lock()
	stale, quiet := p.stale, time.Until(p.quiet)
	p.stale = nil
	p.mu.Unlock()
	if quiet > 0 && !pause(ctx, quiet) {
		return nil, context.Cause(ctx)
	}
	for _, ch := range stale {
		p.discard(ch)
	}
	for {
		select {
		case ch := <-p.idle:
			if !ch.IsClosed() {
				return ch, nil
			}
			continue
		default:
		}
		conn, err := p.link.connection(ctx)
		if err != nil {
			return nil, err
		}
		var ch *confirmChannel
		err = p.link.bounded(conn, func() (err error) {
			ch, err = p.open(conn)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("open a channel: %w", err)
		}
		return ch, nil
	}
}

func (p *publisher) discard(ch *confirmChannel) {
	_ = p.link.bounded(ch.conn, ch.Close) // gone either way
}

func (p *publisher) open(conn *amqp.Connection) (*confirmChannel, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := declareTopology(ch, p.link.cfg.Topology); err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	if err := ch.Confirm(false); err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	return &confirmChannel{
		Channel: ch, conn: conn,
		confirms: ch.NotifyPublish(make(chan amqp.Confirmation, publishWindow)),
		returns:  ch.NotifyReturn(make(chan amqp.Return, 2*publishWindow)),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
	}, nil
}

// window publishes all of msgs and then accounts for each of them.
func (p *publisher) window(ctx context.Context, ch *confirmChannel, topic string, msgs []*message.Message) error {
	if err := p.send(ctx, ch, topic, msgs); err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, ch.reason(ctx, err))
	}
	count(p.metrics.Published, len(msgs))
	acked, alarmed := 0, p.link.alarmed()
	for range msgs {
		select {
		case c, ok := <-ch.confirms:
			if !ok {
				return fmt.Errorf("%w: %w", ErrUnconfirmed, ch.reason(ctx, amqp.ErrClosed))
			}
			if c.Ack {
				acked++
			}
		case <-alarmed:
			return fmt.Errorf("%w: %w", ErrUnconfirmed, ErrBlocked)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnconfirmed, context.Cause(ctx))
		}
	}
	returned, reply := 0, ""
	for len(ch.returns) > 0 {
		r := <-ch.returns
		returned, reply = returned+1, r.ReplyText
	}
	count(p.metrics.Returned, returned)
	count(p.metrics.Confirmed, acked-returned)
	switch {
	case returned > 0 && !mutant.UnroutableIsPublished:
		return fmt.Errorf("%w: %d of %d returned: %s", ErrUnroutable, returned, len(msgs), reply)
	case acked < len(msgs):
		return fmt.Errorf("%w: the broker refused %d of %d", ErrUnconfirmed, len(msgs)-acked, len(msgs))
	}
	return nil
}

// send writes msgs, in as few writes as they take.
func (p *publisher) send(ctx context.Context, ch *confirmChannel, topic string, msgs []*message.Message) (err error) {
	uncork := p.link.cork(ch.conn)
	defer func() { err = cmp.Or(err, uncork()) }()
	for _, m := range msgs {
		key, body := publishing(topic, m, amqp.Persistent)
		if err := ch.PublishWithContext(ctx, p.exchange, key, true, false, body); err != nil {
			return err
		}
	}
	return nil
}

// reason prefers why the call was given up, then what the broker said when it closed the channel.
func (ch *confirmChannel) reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case e := <-ch.closed:
		if e != nil {
			return e
		}
	default:
	}
	return err
}
