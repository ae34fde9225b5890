package bus

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// look is one Scan.
type look struct {
	Scanned
	q       *PoisonQueue
	control *amqp.Channel
	gone    map[string]struct{} // keys of the letters that were acknowledged
	ready   int                 // letters in the queue, after all that was held is back
}

// run goes through the queue once.
func (l *look) run(ctx context.Context, visit func(events.DeadLetter) (Verdict, bool)) error {
	r := &replay{look: l}
	there, err := l.consume(ctx, func(d amqp.Delivery) (more bool, err error) {
		l.Seen++
		letter := letterOf(d)
		v, more := visit(letter)
		switch v {
		case Drop:
			if err := l.ack(d, letter.Key); err != nil {
				return false, err
			}
			l.Dropped++
		case Replay:
			return more, r.add(ctx, letter, d)
		case Keep:
		}
		return more, nil
	}, func() error { return r.flush(ctx) })
	l.There = max(there, l.Seen)
	return err
}

// again removes what was acknowledged and came back nevertheless. RabbitMQ (3.10, seen) loses acknowledgements for a quorum
// queue that are more than some 32 ahead of their commit when the channel is closed, and tells nobody. A letter that came
// meanwhile was never delivered before, so that even an equal one is left alone.
func (l *look) again(ctx context.Context) error {
	for l.ready > l.There-l.Dropped-l.Replayed {
		left := 0
		if _, err := l.consume(ctx, func(d amqp.Delivery) (bool, error) {
			key := letterOf(d).Key
			if _, ok := l.gone[key]; !ok || !d.Redelivered {
				return true, nil
			}
			left++
			return true, l.ack(d, key)
		}, nil); err != nil {
			return err
		}
		if left == 0 {
			break // new letters
		}
	}
	return nil
}

func (l *look) ack(d amqp.Delivery, key string) error {
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("let go of the letter %s: %w", key, err)
	}
	l.gone[key] = struct{}{}
	return nil
}

// consume hands out the letters that are there, until each wants no more or fails, calls finish, and gives back what was
// not acknowledged.
func (l *look) consume(ctx context.Context, each func(amqp.Delivery) (more bool, err error), finish func() error) (there int, err error) {
	before, err := l.q.state(l.control)
	if err != nil {
		return 0, err
	}
	there = before.Messages
	ch, err := l.q.conn.Channel()
	if err != nil {
		return there, fmt.Errorf("open a channel: %w", err)
	}
	defer func() {
		if cerr := l.giveBack(ctx, ch, before.Consumers); err == nil {
			err = cerr
		}
	}()
	// All that is there is handed over at once, and so goes back at once and in order, also when this process is killed.
	if err := ch.Qos(max(1, min(there, PoisonQueueLook)), 0, false); err != nil {
		return there, fmt.Errorf("set the prefetch: %w", err)
	}
	deliveries, err := ch.Consume(l.q.cfg.Topology.DeadLetterQueue(), "gochat-dead", false, false, false, false, nil)
	if err != nil {
		return there, fmt.Errorf("read the dead letters: %w", err)
	}
	idle := time.NewTimer(lookIdle)
	defer idle.Stop()
	more := true
	for n := 0; more && n < min(there, PoisonQueueLook); n++ {
		select {
		case d, ok := <-deliveries:
			if !ok || d.Acknowledger == nil {
				return there, fmt.Errorf("%w any more; what was not done is in the queue as before", ErrNotConnected)
			}
			if more, err = each(d); err != nil {
				return there, err
			}
			idle.Reset(lookIdle) // what each did, as a replay that the broker confirms late, is not the queue's silence
		case <-idle.C:
			more = false // somebody took what was counted
		case <-ctx.Done():
			return there, ctx.Err()
		}
	}
	if finish == nil {
		return there, nil
	}
	return there, finish()
}

// giveBack ends the consumer by its channel: letters return together and in order then, while a quorum queue gives back a
// list of them in any order. It does so some time after its answer to the close, together with the end of the consumer, so
// giveBack waits for that: whoever looks next would find fewer letters.
func (l *look) giveBack(ctx context.Context, ch *amqp.Channel, others int) error {
	if err := ch.Close(); err != nil {
		return err
	}
	wait := backoff{first: 10 * time.Millisecond, max: 200 * time.Millisecond}
	for began := time.Now(); time.Since(began) < lookIdle && ctx.Err() == nil; wait.wait(ctx) {
		state, err := l.q.state(l.control)
		l.ready = state.Messages
		if err != nil || state.Consumers <= others {
			return err
		}
	}
	return ctx.Err()
}

// replay gathers letters whose events are published together.
type replay struct {
	look    *look
	msgs    []*message.Message
	letters []amqp.Delivery
	keys    []string
	bytes   int
}

func (r *replay) add(ctx context.Context, l events.DeadLetter, d amqp.Delivery) error {
	m := message.NewMessage(l.ID, l.Body)
	m.Metadata[metaContentType] = l.ContentType
	m.Metadata[metaRoutingKey] = replayKey(l)
	if l.Type != "" {
		m.Metadata[metaType] = l.Type
	}
	m.SetContext(ctx)
	r.msgs, r.letters, r.keys, r.bytes = append(r.msgs, m), append(r.letters, d), append(r.keys, l.Key), r.bytes+len(l.Body)
	if len(r.msgs) < replayWindow && r.bytes < replayBytes {
		return nil
	}
	return r.flush(ctx)
}

// replayKey is a key that reaches the persister's queue. The letter's own need not: who published to the queue by its name
// gave that name as the key.
func replayKey(l events.DeadLetter) string {
	if evs, _ := l.Events(); len(evs) > 0 {
		return events.MessageSentKey(events.Shard(evs[0].Room))
	}
	if !strings.HasPrefix(l.Topic, strings.TrimSuffix(events.MessageSentBinding, "#")) {
		return events.MessageSentKey(0)
	}
	return l.Topic
}

// flush publishes what was gathered, awaits every confirm, and only then lets go of the letters.
func (r *replay) flush(ctx context.Context) error {
	if len(r.msgs) == 0 {
		return nil
	}
	q := r.look.q
	if q.publish == nil {
		q.publish = newLink(context.WithoutCancel(ctx), "replay", q.cfg)
		q.events = newPublisher(q.publish, q.cfg.Topology.EventsExchange(), q.cfg.ConfirmWithin, q.cfg.Metrics)
	}
	if err := q.events.Publish("", r.msgs...); err != nil {
		return fmt.Errorf("replay %d letters, all of which stay: %w", len(r.msgs), err)
	}
	if q.beforeAck != nil {
		q.beforeAck()
	}
	for i, d := range r.letters {
		if err := r.look.ack(d, r.keys[i]); err != nil {
			return err
		}
		r.look.Replayed++
	}
	r.msgs, r.letters, r.keys, r.bytes = nil, nil, nil, 0
	return nil
}
