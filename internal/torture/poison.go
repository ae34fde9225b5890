//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
)

// poisonPrefix begins the ids of what is planted; no room has the name.
const poisonPrefix = "poison/"

// poison plants messages that can never be stored, and reads the dead letters.
type poison struct {
	stack *stack

	mu      sync.Mutex // guards the fields below
	n       int
	planted []string            // confirmed by the broker: they must be among the dead letters
	maybe   map[string]struct{} // not confirmed: they may be
	good    map[string]struct{} // messages that nobody planted, seen among the dead letters
}

// plant publishes, past the proxies, one message that is no JSON, one event that breaks the contract, one with a type that
// no short string of AMQP holds, and a batch of two. The error is for what the broker did not confirm; it may be there all
// the same.
func (p *poison) plant(ctx context.Context) error {
	if p.stack.broker == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	typed := func(typ, id string) []byte {
		return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"type":%q,"source":%q,"time":"2026-01-01T00:00:00Z",`+
			`"datacontenttype":"application/json","data":{"room":"poison","seq":0}}`, id, typ, events.SourceChatroom)
	}
	bad := func(id string) []byte { return typed(events.TypeMessageSent, id) }
	next := func() string { p.n++; return fmt.Sprint(poisonPrefix, p.n) }
	letter := func(contentType, id string, body []byte, ids ...string) error {
		err := p.publish(ctx, amqp.Publishing{
			MessageId: id, ContentType: contentType, Type: events.TypeMessageSent, DeliveryMode: amqp.Persistent, Body: body,
		})
		if err == nil {
			p.planted = append(p.planted, ids...)
			return nil
		}
		for _, id := range ids {
			p.maybe[id] = struct{}{}
		}
		return err
	}
	a, b, c, d, e := next(), next(), next(), next(), next()
	return errors.Join(
		letter(events.ContentType, a, []byte(`{"no JSON`), a),
		letter(events.ContentType, b, bad(b), b),
		letter(events.ContentType, e, typed(strings.Repeat("t", 300), e), e),
		letter(events.ContentTypeBatch, c, events.EncodeBatch([][]byte{bad(c), bad(d)}), c, d),
	)
}

// plantSurely plants until all of it is confirmed: at rest, when nothing is broken any more, poison must have been there.
func (p *poison) plantSurely(ctx context.Context) error {
	for {
		err := p.plant(ctx)
		if err == nil || !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// publish waits for the confirm, and takes a returned message for not published.
func (p *poison) publish(ctx context.Context, msg amqp.Publishing) error {
	conn, ch, err := p.stack.dialBroker()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	returned := ch.NotifyReturn(make(chan amqp.Return, 1))
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, events.Topology{}.EventsExchange(), events.MessageSentKey(0), true, false, msg)
	if err != nil {
		return err
	}
	ok, err := sent.WaitContext(ctx)
	if err == nil && !ok {
		err = errors.New("the broker refused it, or closed the channel")
	}
	if err != nil {
		return fmt.Errorf("poison %s not confirmed: %w", msg.MessageId, err)
	}
	if len(returned) > 0 {
		return fmt.Errorf("poison %s came back", msg.MessageId)
	}
	return nil
}

// forget is called when the broker lost its data, and with it the dead letters and what was on its way there.
func (p *poison) forget(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.planted { // a persister may hold one, and still put it there
		p.maybe[id] = struct{}{}
	}
	p.planted = nil
	return nil
}

// look notes the dead letters that are about to be lost: a good message among them must not go unseen.
func (p *poison) look(ctx context.Context) error {
	_, _, err := p.deadLetters(ctx)
	if errors.Is(err, bus.ErrNoPoisonQueue) {
		return nil // lost before, and no service has come back since
	}
	return err
}

// deadLetters returns the ids of the events among the dead letters, with those of good messages that were there once, and
// those that must be there. Ids of which nobody can know are left out of both.
func (p *poison) deadLetters(ctx context.Context) (found, planted []string, err error) {
	if p.stack.broker == nil {
		return nil, nil, nil // they are in the persister's file, see files
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	q, err := bus.OpenPoisonQueue(ctx, bus.AMQPConfig{URL: p.stack.broker.URL(), Instance: "torture"})
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = q.Scan(ctx, func(l events.DeadLetter) (bus.Verdict, bool) {
		if !strings.HasPrefix(l.ID, poisonPrefix) {
			p.good[l.ID] = struct{}{}
		} else if _, unknown := p.maybe[l.ID]; !unknown {
			found = append(found, l.ID)
		}
		return bus.Keep, true
	})
	if err := errors.Join(err, q.Close()); err != nil {
		return nil, nil, fmt.Errorf("read the dead letters: %w", err)
	}
	return slices.AppendSeq(found, maps.Keys(p.good)), slices.Clone(p.planted), nil
}

// missing tells which planted messages are not dead-lettered yet. One may be there twice.
func (p *poison) missing(ctx context.Context) (missing []string, err error) {
	found, planted, err := p.deadLetters(ctx)
	return slices.DeleteFunc(planted, func(id string) bool { return slices.Contains(found, id) }), err
}
