package bus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events"
)

// GroupPersister is the group of consumers behind EventsSubscriber.
const GroupPersister = "persister"

const (
	inProcessWithin      = 30 * time.Second // bounds a publish with its acknowledgements
	inProcessDeadLetters = 1000             // kept in memory, the newest
)

// InProcess is the transport inside one process. It stores nothing: Events' Publish returns nil only after every
// registered group acknowledged, and ErrAbsent at once when a group has no reader; so the outbox of whoever publishes
// is the durable queue. Dead letters are logged and go to the place that KeepDead named; the newest are kept in memory
// for a look. Their events stay in the outbox, since nobody announces them as stored.
type InProcess struct {
	// Immutable.
	log    *slog.Logger
	groups map[string]*memQueue
	ctx    context.Context
	cancel context.CancelFunc
	keep   func(context.Context, []events.DeadLetter) error // may be nil; set before use

	mu     sync.Mutex // guards the fields below
	fanout map[*memQueue]struct{}
	dead   []*message.Message
}

// NewInProcess makes a transport whose events go to each of groups; without any, to [GroupPersister].
func NewInProcess(log *slog.Logger, groups ...string) *InProcess {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if len(groups) == 0 {
		groups = []string{GroupPersister}
	}
	t := &InProcess{log: log, groups: make(map[string]*memQueue), fanout: make(map[*memQueue]struct{})}
	for _, g := range groups {
		t.groups[g] = newMemQueue(0, true)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Events publishes to all groups and waits for them.
func (t *InProcess) Events() message.Publisher {
	return &memPublisher{
		queues: func(string) []*memQueue {
			qs := make([]*memQueue, 0, len(t.groups))
			for _, q := range t.groups {
				qs = append(qs, q)
			}
			return qs
		},
		awaited: true, within: inProcessWithin, closed: t.ctx, orphans: ErrAbsent,
	}
}

// EventsSubscriber reads the events of [GroupPersister].
func (t *InProcess) EventsSubscriber(inFlight int) message.Subscriber {
	return t.GroupSubscriber(GroupPersister, inFlight)
}

// GroupSubscriber reads the events of a group; one that was not registered gets ErrAbsent.
func (t *InProcess) GroupSubscriber(group string, inFlight int) message.Subscriber {
	return t.subscriber(inFlight, func(string) (*memQueue, func(), error) {
		q, ok := t.groups[group]
		if !ok {
			return nil, nil, ErrAbsent
		}
		return q, func() {}, nil
	})
}

func (t *InProcess) subscriber(inFlight int, queue func(string) (*memQueue, func(), error)) *memSubscriber {
	s := &memSubscriber{queue: queue, inFlight: max(inFlight, 1)}
	s.ctx, s.cancel = context.WithCancel(t.ctx)
	return s
}

// Fanout gives to whoever reads now; a reader that is slow loses its oldest.
func (t *InProcess) Fanout() message.Publisher {
	return &memPublisher{queues: func(string) []*memQueue {
		t.mu.Lock()
		defer t.mu.Unlock()
		qs := make([]*memQueue, 0, len(t.fanout))
		for q := range t.fanout {
			qs = append(qs, q)
		}
		return qs
	}, closed: t.ctx}
}

// FanoutSubscriber reads the fan-out; the instance is not needed here.
func (t *InProcess) FanoutSubscriber(string) message.Subscriber {
	return t.subscriber(1, func(string) (*memQueue, func(), error) {
		q := newMemQueue(fanoutMaxMessages, false)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.fanout[q] = struct{}{}
		return q, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.fanout, q)
		}, nil
	})
}

// KeepDead names where dead letters are kept for good. While it fails, their events are handled again. It must be called
// before anything runs on the transport.
func (t *InProcess) KeepDead(put func(context.Context, []events.DeadLetter) error) { t.keep = put }

// DeadLetters goes to the place that KeepDead named, and keeps the newest in memory.
func (t *InProcess) DeadLetters() message.Publisher { return memDead{t} }

// Dead returns the dead letters that are still kept, oldest first.
func (t *InProcess) Dead() []*message.Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*message.Message(nil), t.dead...)
}

type memDead struct{ t *InProcess }

func (d memDead) Publish(_ string, msgs ...*message.Message) error {
	if d.t.ctx.Err() != nil {
		return ErrClosed
	}
	if d.t.keep != nil && len(msgs) > 0 {
		letters := make([]events.DeadLetter, len(msgs))
		for i, m := range msgs {
			letters[i] = letterOfMessage(m)
		}
		if err := d.t.keep(msgs[0].Context(), letters); err != nil {
			return err
		}
	}
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	d.t.dead = append(d.t.dead, msgs...)
	if over := len(d.t.dead) - inProcessDeadLetters; over > 0 {
		d.t.dead = append([]*message.Message(nil), d.t.dead[over:]...)
	}
	return nil
}

func (memDead) Close() error { return nil }

// Ready is nil while every group has a reader.
func (t *InProcess) Ready() error {
	if t.ctx.Err() != nil {
		return ErrClosed
	}
	for _, q := range t.groups {
		q.mu.Lock()
		readers := q.readers
		q.mu.Unlock()
		if readers == 0 {
			return ErrAbsent
		}
	}
	return nil
}

// Run blocks until ctx ends, then closes.
func (t *InProcess) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	return t.Close()
}

// Close ends all subscriptions.
func (t *InProcess) Close() error {
	t.cancel()
	return nil
}
