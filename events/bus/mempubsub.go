package bus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// memPublisher gives each message to all queues of its topic.
type memPublisher struct {
	queues  func(topic string) []*memQueue
	awaited bool          // return only after every queue's reader acknowledged
	within  time.Duration // bounds that wait
	closed  context.Context
	metrics Metrics
	orphans error // what a topic without queues means; nil: nothing
}

// Publish returns nil when every group has acknowledged every message (where it waits for that at all). On an error
// some groups may have got some of them.
func (p *memPublisher) Publish(topic string, msgs ...*message.Message) error {
	if p.closed.Err() != nil {
		return ErrClosed
	}
	if len(msgs) == 0 {
		return nil
	}
	queues := p.queues(topic)
	if len(queues) == 0 {
		return p.orphans
	}
	answers := make(chan error, len(queues)*len(msgs))
	sent := make(map[*memQueue][]*memItem, len(queues))
	defer func() {
		if p.awaited {
			for q, items := range sent {
				q.withdraw(items)
			}
		}
	}()
	for _, q := range queues {
		items := make([]*memItem, len(msgs))
		for i, m := range msgs {
			items[i] = &memItem{msg: memCopy(topic, m)}
			if p.awaited {
				items[i].done = func(err error) { answers <- err }
			}
		}
		dropped, err := q.push(items...)
		if err != nil {
			return fmt.Errorf("publish %d: %w", len(msgs), err)
		}
		count(p.metrics.FanoutDropped, dropped)
		sent[q] = items
	}
	if !p.awaited {
		return nil
	}
	count(p.metrics.Published, len(msgs))
	if err := p.await(msgs[0].Context(), answers, cap(answers)); err != nil {
		return fmt.Errorf("publish %d: %w", len(msgs), err)
	}
	count(p.metrics.Confirmed, len(msgs))
	return nil
}

func (p *memPublisher) await(ctx context.Context, answers <-chan error, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.within, ErrTimeout)
	defer cancel()
	for range n {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnconfirmed, context.Cause(ctx))
		case <-p.closed.Done():
			return fmt.Errorf("%w: %w", ErrUnconfirmed, ErrClosed)
		}
	}
	return nil
}

// Close does nothing: the publisher is shared.
func (p *memPublisher) Close() error { return nil }

func memCopy(topic string, m *message.Message) *message.Message {
	c := m.Copy()
	if _, ok := c.Metadata[metaRoutingKey]; !ok {
		c.Metadata[metaRoutingKey] = topic
	}
	delete(c.Metadata, metaRedelivered)
	delete(c.Metadata, metaDeliveries)
	return c
}

// memSubscriber reads one queue. Its ends are those of the AMQP subscriber: by context it waits for what is in flight,
// by Close it does not.
type memSubscriber struct {
	queue    func(topic string) (q *memQueue, release func(), err error)
	inFlight int
	metrics  Metrics
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex // guards closed against wg.Add
	closed bool
	wg     sync.WaitGroup
}

func (s *memSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	q, release, err := s.queue(topic)
	if err != nil {
		return nil, err
	}
	q.enter()
	out := make(chan *message.Message)
	s.wg.Go(func() {
		defer close(out)
		defer release()
		defer q.leave()
		s.run(ctx, q, out)
	})
	return out, nil
}

// SubscribeInitialize makes the queue.
func (s *memSubscriber) SubscribeInitialize(topic string) error {
	_, release, err := s.queue(topic)
	if err == nil {
		release()
	}
	return err
}

func (s *memSubscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *memSubscriber) run(ctx context.Context, q *memQueue, out chan<- *message.Message) {
	live, cancel := context.WithCancel(ctx) // ends with either
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	slots := make(chan struct{}, s.inFlight)
	for {
		select {
		case slots <- struct{}{}:
		case <-live.Done():
			return
		}
		it := q.pop(live)
		if it == nil {
			return
		}
		m := it.msg.Copy()
		if it.times > 0 {
			m.Metadata[metaRedelivered] = "true"
			m.Metadata[metaDeliveries] = strconv.Itoa(it.times)
			count(s.metrics.Redelivered, 1)
		}
		msgCtx, done := context.WithCancel(live)
		m.SetContext(msgCtx)
		select {
		case out <- m:
		case <-live.Done():
			done()
			q.back(it)
			return
		}
		inFlight.Go(func() {
			defer done()
			s.settle(m, it, q)
			<-slots
		})
	}
}

func (s *memSubscriber) settle(m *message.Message, it *memItem, q *memQueue) {
	acked := true
	select {
	case <-m.Acked():
	case <-m.Nacked():
		acked = false
	case <-s.ctx.Done():
		select {
		case <-m.Acked(): // said in time, only read too late
		default:
			acked = false
		}
	}
	switch {
	case !acked:
		it.times++
		q.back(it)
	case it.done != nil:
		it.done(nil)
	}
}
