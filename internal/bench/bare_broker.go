//go:build unix

package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

const (
	bareQueue  = "bench.bare"
	bareTopics = "bench.bare.topics" // a topic exchange
	bareWindow = 1024                // messages under way, and rows in an insert
	bareMost   = 50_000              // messages that a round publishes to be consumed
)

// bareBroker publishes to, and consumes from, a quorum queue of its own on the installation's broker.
type bareBroker struct {
	ch       *amqp.Channel
	confirms chan amqp.Confirmation
	pool     *pgxpool.Pool
	text     string
	rows     int
	seq      int64
	room     string
	// What its figures are called, so that they stand beside those of the scenario.
	published, consumed string
}

func (i *installation) bareBroker(ctx context.Context, p Plan, closers *[]func()) (*bareBroker, error) {
	conn, err := amqp.Dial(i.broker.URL())
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	*closers = append(*closers, func() { _ = conn.Close() })
	b := &bareBroker{text: strings.Repeat("x", max(p.TextBytes, 1)), rows: min(p.Rows, bareMost), room: "bare-" + newRun(), published: figureMessages, consumed: figureMessages}
	if p.Scenario == Stages {
		b.published, b.consumed = figurePublished, figureConsumed
	}
	if b.ch, err = conn.Channel(); err != nil {
		return nil, err
	}
	if err := b.ch.Confirm(false); err != nil {
		return nil, err
	}
	b.confirms = b.ch.NotifyPublish(make(chan amqp.Confirmation, bareWindow))
	if _, err := b.ch.QueueDeclare(bareQueue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return nil, err
	}
	if err := b.ch.ExchangeDeclare(bareTopics, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return nil, err
	}
	if err := b.ch.QueueBind(bareQueue, events.MessageSentBinding, bareTopics, false, nil); err != nil {
		return nil, err
	}
	at, err := i.bareURL(ctx)
	if err != nil {
		return nil, err
	}
	if b.pool, err = pgxpool.New(ctx, at); err != nil {
		return nil, err
	}
	*closers = append(*closers, b.pool.Close)
	return b, nil
}

// window publishes n messages, then awaits n confirms. They go to the queue directly, or through the topic exchange as the
// services' messages do.
func (b *bareBroker) window(ctx context.Context, n int, routed bool) error {
	exchange, key := "", bareQueue
	if routed {
		exchange, key = bareTopics, events.MessageSentKey(events.Shard(b.room))
	}
	for range n {
		b.seq++
		row, err := newSentRow(b.room, fmt.Sprint(b.seq), "bare", b.seq, b.text)
		if err != nil {
			return err
		}
		if err := b.ch.PublishWithContext(ctx, exchange, key, true, false, amqp.Publishing{
			ContentType: events.ContentType, MessageId: fmt.Sprint(b.seq), DeliveryMode: amqp.Persistent, Body: row.Payload,
		}); err != nil {
			return err
		}
	}
	for range n {
		select {
		case c, ok := <-b.confirms:
			if !ok || !c.Ack {
				return fmt.Errorf("message %d was not confirmed", c.DeliveryTag)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *bareBroker) publishing(ctx context.Context, length time.Duration) (report.Measurement, error) {
	return b.publish(ctx, length, false)
}

func (b *bareBroker) publishingRouted(ctx context.Context, length time.Duration) (report.Measurement, error) {
	return b.publish(ctx, length, true)
}

func (b *bareBroker) publish(ctx context.Context, length time.Duration, routed bool) (report.Measurement, error) {
	if _, err := b.ch.QueuePurge(bareQueue, false); err != nil {
		return report.Measurement{}, err
	}
	before, n := usage{at: time.Now(), generator: ownCPU()}, 0
	for time.Since(before.at) < length {
		if err := b.window(ctx, bareWindow, routed); err != nil {
			return report.Measurement{}, fmt.Errorf("publish: %w", err)
		}
		n += bareWindow
	}
	return bareMeasured(b.published, before, n), nil
}

// consuming publishes first, and counts from the first delivery asked for to the last acknowledgement.
func (b *bareBroker) consuming(ctx context.Context, _ time.Duration) (report.Measurement, error) {
	var m report.Measurement
	if _, err := b.ch.QueuePurge(bareQueue, false); err != nil {
		return m, err
	}
	for left := b.rows; left > 0; left -= bareWindow {
		if err := b.window(ctx, min(left, bareWindow), false); err != nil {
			return m, fmt.Errorf("publish: %w", err)
		}
	}
	if err := b.ch.Qos(2*bareWindow, 0, false); err != nil {
		return m, err
	}
	before := usage{at: time.Now(), generator: ownCPU()}
	deliveries, err := b.ch.ConsumeWithContext(ctx, bareQueue, "bare", false, false, false, false, nil)
	if err != nil {
		return m, err
	}
	for n := 0; n < b.rows; {
		var batch []events.MessageSent
		var last amqp.Delivery
		for len(batch) < min(bareWindow, b.rows-n) {
			d, ok := <-deliveries
			if !ok {
				return m, fmt.Errorf("the broker ended the consumer after %d messages", n)
			}
			e, err := events.DecodeMessageSent(d.Body)
			if err != nil {
				return m, err
			}
			batch, last = append(batch, e), d
		}
		if err := b.store(ctx, batch); err != nil {
			return m, err
		}
		if err := last.Ack(true); err != nil {
			return m, err
		}
		n += len(batch)
	}
	m = bareMeasured(b.consumed, before, b.rows)
	return m, b.ch.Cancel("bare", false)
}

func (b *bareBroker) store(ctx context.Context, batch []events.MessageSent) error {
	n := len(batch)
	rooms, ids, senders, texts := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	seqs, times := make([]int64, n), make([]time.Time, n)
	for i, e := range batch {
		rooms[i], seqs[i], ids[i], senders[i], texts[i], times[i] = e.Room, e.Seq, e.ID, e.From, e.Text, e.SentAt
	}
	_, err := b.pool.Exec(ctx, `INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
		SELECT r, s, 'message', i, f, t, a FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) AS m(r, s, i, f, t, a)
		ON CONFLICT DO NOTHING`, rooms, seqs, ids, senders, texts, times)
	return err
}

func bareMeasured(figure string, before usage, n int) report.Measurement {
	after := usage{at: time.Now(), generator: ownCPU()}
	m := report.Measurement{Seconds: after.at.Sub(before.at).Seconds(), Usage: between(before, after)}
	m.Figures = []report.Figure{{Name: figure, Unit: "/s", Value: float64(n) / m.Seconds}}
	m.Counts = map[string]int64{"rows": int64(n)}
	return m
}
