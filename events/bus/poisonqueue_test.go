package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

// poisoned is a broker whose poison queue has the events 1 to n of the room ops.
func poisoned(t *testing.T, n int64) broker {
	t.Helper()
	b := mustBroker(t, bus.AMQPConfig{})
	b.ready(t)
	var msgs []*message.Message
	for seq := int64(1); seq <= n; seq++ {
		m := message.NewMessage(events.EventID("ops", seq), bustest.MessageSent(t, "ops", seq))
		m.Metadata = message.Metadata{
			"content_type": events.ContentType, "type": events.TypeMessageSent, bus.HeaderReason: fmt.Sprint("reason ", seq),
			bus.HeaderAttempts: "3", bus.HeaderFirstSeen: "2026-01-02T15:04:05.678Z", bus.HeaderTopic: events.MessageSentKey(5),
			bus.HeaderMessageID: "m-1",
		}
		msgs = append(msgs, m)
	}
	if len(msgs) > 0 {
		if err := b.tr.DeadLetters().Publish("", msgs...); err != nil {
			t.Fatalf("publish dead letters: %v", err)
		}
	}
	return b
}

func (b broker) open(t *testing.T) *bus.PoisonQueue {
	t.Helper()
	q, err := bus.OpenPoisonQueue(t.Context(), bus.AMQPConfig{URL: b.url, Topology: b.topology})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// scan gives every letter the verdict.
func scan(t *testing.T, q *bus.PoisonQueue, v bus.Verdict) (letters []events.DeadLetter, s bus.Scanned) {
	t.Helper()
	s, err := q.Scan(t.Context(), func(l events.DeadLetter) (bus.Verdict, bool) {
		letters = append(letters, l)
		return v, true
	})
	if err != nil {
		t.Fatal(err)
	}
	return letters, s
}

// raw is what the broker says is in the poison queue, in order, without the header that it counts looks in.
func (b broker) raw(t *testing.T) (out []string) {
	t.Helper()
	ch := rabbit.Channel(t, b.url)
	state, err := ch.QueueDeclarePassive(b.topology.DeadLetterQueue(), true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Not by basic.get: each get counts as a consumer of its own, and what they hold goes back in no order.
	deliveries, err := ch.Consume(b.topology.DeadLetterQueue(), "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range state.Messages {
		d := bustest.Await(t, "letter", deliveries)
		delete(d.Headers, "x-delivery-count")
		out = append(out, fmt.Sprint(d.MessageId, d.ContentType, d.Type, d.Timestamp, d.DeliveryMode, d.Headers, string(d.Body)))
	}
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	back := rabbit.Channel(t, b.url)
	rabbit.Eventually(t, "letters back", func() bool {
		s, err := back.QueueDeclarePassive(b.topology.DeadLetterQueue(), true, false, false, false, nil)
		return err == nil && s.Messages >= state.Messages
	})
	return out
}

func TestALookLeavesThePoisonQueueAsItWas(t *testing.T) {
	t.Parallel()
	const n = 40
	b := poisoned(t, n)
	before := b.raw(t)
	q := b.open(t)
	for range 3 {
		letters, s := scan(t, q, bus.Keep)
		if want := (bus.Scanned{There: n, Seen: n}); s != want {
			t.Fatalf("got %+v, want %+v", s, want)
		}
		for i, l := range letters {
			if want := events.EventID("ops", int64(i+1)); l.ID != want {
				t.Fatalf("letter %d: got %s, want %s", i, l.ID, want)
			}
		}
	}
	// A look that ends early, and one whose process dies with everything in its hands.
	s, err := q.Scan(t.Context(), func(events.DeadLetter) (bus.Verdict, bool) { return bus.Keep, false })
	if err != nil || s.Seen != 1 {
		t.Errorf("look at one: got %+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err = b.open(t).Scan(ctx, func(l events.DeadLetter) (bus.Verdict, bool) {
		if l.ID == events.EventID("ops", n/2) {
			cancel() // cuts the socket
		}
		return bus.Keep, true
	})
	if !errors.Is(err, context.Canceled) || s.Seen < n/2 {
		t.Errorf("look that is cut: got %+v, %v", s, err)
	}
	var after []string
	rabbit.Eventually(t, "all letters back", func() bool { after = b.raw(t); return len(after) == n })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the queue changed (-before +after):\n%s", diff)
	}
	letters, _ := scan(t, q, bus.Keep)
	l := letters[4]
	if len(l.Key) != 10 {
		t.Errorf("key: got %q", l.Key)
	}
	l.Key = ""
	want := events.DeadLetter{
		ID: "ops/5", Type: events.TypeMessageSent, ContentType: events.ContentType, Carrier: "m-1", Topic: events.MessageSentKey(5),
		Reason: "reason 5", Attempts: 3, FirstSeen: time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC), Body: bustest.MessageSent(t, "ops", 5),
	}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Error(diff)
	}
}

func TestDropRemovesWhatWasChosen(t *testing.T) {
	t.Parallel()
	const n = 3000
	b := poisoned(t, n)
	s, err := b.open(t).Scan(t.Context(), func(l events.DeadLetter) (bus.Verdict, bool) {
		if strings.HasSuffix(l.ID, "7") {
			return bus.Keep, true
		}
		return bus.Drop, true
	})
	if want := (bus.Scanned{There: n, Seen: n, Dropped: n * 9 / 10}); err != nil || s != want {
		t.Fatalf("got %+v, %v, want %+v", s, err, want)
	}
	// Nothing of it comes back: the acknowledgements were taken before the channel was closed.
	letters, _ := scan(t, b.open(t), bus.Keep)
	if len(letters) != n/10 {
		t.Fatalf("got %d letters, want %d", len(letters), n/10)
	}
	if letters[0].ID != "ops/7" || letters[n/10-1].ID != fmt.Sprint("ops/", n-3) {
		t.Errorf("got letters from %s to %s", letters[0].ID, letters[len(letters)-1].ID)
	}
}

func TestReplayPublishesAgainAndThenLetsGo(t *testing.T) {
	t.Parallel()
	const n = 600 // more than two windows
	b := poisoned(t, n)
	got := b.collect(t)
	letters, s := scan(t, b.open(t), bus.Replay)
	if want := (bus.Scanned{There: n, Seen: n, Replayed: n}); s != want || len(letters) != n {
		t.Errorf("got %+v, want %+v", s, want)
	}
	var seqs []int64
	for seq := int64(1); seq <= n; seq++ {
		seqs = append(seqs, seq)
	}
	awaitSeqs(t, got, seqs...)
	if left, _ := scan(t, b.open(t), bus.Keep); len(left) != 0 {
		t.Errorf("%d letters are left", len(left))
	}
}

// What is refused again comes back as a new letter, and the same scan does not take it up again.
func TestReplayOfWhatIsRefusedAgainEnds(t *testing.T) {
	t.Parallel()
	const n = 300
	b := poisoned(t, n)
	bustest.Consume(t, b.tr, options(), func(_ context.Context, ds []bus.Delivery) []error {
		errs := make([]error, len(ds))
		for i := range errs {
			errs[i] = events.Permanent(errors.New("still bad"))
		}
		return errs
	})
	q := b.open(t)
	if _, s := scan(t, q, bus.Replay); s.Replayed != n || s.Seen != n {
		t.Errorf("got %+v", s)
	}
	rabbit.Eventually(t, "all letters back", func() bool {
		letters, _ := scan(t, q, bus.Keep)
		return len(letters) == n && letters[0].Reason == "still bad"
	})
}

// A crash after the events are confirmed and before their letters are let go leaves both; it loses neither.
func TestReplayThatDiesBeforeItsAcknowledgementsLosesNothing(t *testing.T) {
	t.Parallel()
	const n = 10
	b := poisoned(t, n)
	var mu sync.Mutex
	stored := map[int64]int{} // as the persister's table: one row for each seq
	consumed := make(chan struct{}, 100)
	bustest.Consume(t, b.tr, options(), func(_ context.Context, ds []bus.Delivery) []error {
		for _, d := range ds {
			m, err := events.DecodeMessageSent(d.Raw)
			if err != nil {
				return []error{err}
			}
			mu.Lock()
			stored[m.Seq]++
			mu.Unlock()
			consumed <- struct{}{}
		}
		return make([]error, len(ds))
	})
	ctx, crash := context.WithCancel(t.Context())
	q := b.open(t)
	q.BeforeAck(func() {
		crash()
		q.Cut() // before the acknowledgements are written, and not some time after crash
		for range n {
			<-consumed // the events were published
		}
	})
	s, err := q.Scan(ctx, func(events.DeadLetter) (bus.Verdict, bool) { return bus.Replay, true })
	if err == nil {
		t.Errorf("got %+v without an error", s)
	}
	again := b.open(t)
	rabbit.Eventually(t, "the letters are there", func() bool {
		s, err := again.Scan(t.Context(), func(events.DeadLetter) (bus.Verdict, bool) { return bus.Keep, true })
		if err != nil && !errors.Is(err, bus.ErrPoisonQueueBusy) { // until the broker has seen the end of the one that died
			t.Fatal(err)
		}
		return err == nil && s.Seen == n
	})
	if _, s := scan(t, again, bus.Replay); s.Replayed != n {
		t.Errorf("second replay: got %+v", s)
	}
	for range n {
		bustest.Await(t, "event", consumed)
	}
	mu.Lock()
	defer mu.Unlock()
	for seq := int64(1); seq <= n; seq++ {
		if stored[seq] != 2 {
			t.Errorf("seq %d: consumed %d times, want once for each replay", seq, stored[seq])
		}
	}
	if letters, _ := scan(t, again, bus.Keep); len(letters) != 0 {
		t.Errorf("%d letters are left", len(letters))
	}
}

func TestReplayWithoutAQueueKeepsTheLetters(t *testing.T) {
	t.Parallel()
	b := poisoned(t, 3)
	ch := rabbit.Channel(t, b.url)
	q := b.open(t)
	if _, s := scan(t, q, bus.Keep); s.Seen != 3 {
		t.Fatalf("got %+v", s)
	}
	if err := ch.QueueUnbind(b.topology.MessageSentQueue(), events.MessageSentBinding, b.topology.EventsExchange(), nil); err != nil {
		t.Fatal(err)
	}
	// The publisher declares the topology when it opens a channel; the binding goes once that is done.
	first := true
	s, err := q.Scan(t.Context(), func(l events.DeadLetter) (bus.Verdict, bool) {
		if first {
			first = false
			return bus.Replay, false
		}
		return bus.Keep, true
	})
	if err != nil || s.Replayed != 1 {
		t.Fatalf("replay that declares: got %+v, %v", s, err)
	}
	if err := ch.QueueUnbind(b.topology.MessageSentQueue(), events.MessageSentBinding, b.topology.EventsExchange(), nil); err != nil {
		t.Fatal(err)
	}
	s, err = q.Scan(t.Context(), func(events.DeadLetter) (bus.Verdict, bool) { return bus.Replay, true })
	if !errors.Is(err, bus.ErrUnroutable) || s.Replayed != 0 {
		t.Errorf("got %+v, %v, want %v", s, err, bus.ErrUnroutable)
	}
	if letters, _ := scan(t, b.open(t), bus.Keep); len(letters) != 2 {
		t.Errorf("%d letters are left, want 2", len(letters))
	}
}

// A letter that the broker put there by itself, from a queue with other arguments or a consumer that rejects.
func TestALetterOfTheBrokerHasAReason(t *testing.T) {
	t.Parallel()
	b := poisoned(t, 0)
	if err := b.publish(t, 4); err != nil {
		t.Fatal(err)
	}
	ch := rabbit.Channel(t, b.url)
	var d amqp.Delivery
	rabbit.Eventually(t, "message", func() (ok bool) { d, ok, _ = ch.Get(b.topology.MessageSentQueue(), false); return ok })
	if err := d.Reject(false); err != nil {
		t.Fatal(err)
	}
	var letters []events.DeadLetter
	q := b.open(t)
	rabbit.Eventually(t, "letter", func() bool { letters, _ = scan(t, q, bus.Keep); return len(letters) == 1 })
	l := letters[0]
	if l.Reason != "the broker put it here: rejected" || l.Topic != events.MessageSentKey(1) || time.Since(l.FirstSeen) > time.Minute {
		t.Errorf("got %+v", l)
	}
	got := b.collect(t)
	scan(t, q, bus.Replay)
	awaitSeqs(t, got, 4)
}

// Who publishes to the queue by its name, past the exchange, leaves a key with which nothing comes back to it.
func TestALetterWithAForeignKeyIsReplayed(t *testing.T) {
	t.Parallel()
	b := poisoned(t, 0)
	for _, m := range []*message.Message{
		message.NewMessage(events.EventID("ops", 1), bustest.MessageSent(t, "ops", 1)),
		message.NewMessage(events.EventID("ops", 2), bustest.MessageSent(t, "ops", 2)),
		message.NewMessage("unreadable", []byte("{")),
	} {
		m.Metadata = message.Metadata{"content_type": events.ContentType, bus.HeaderReason: "x", bus.HeaderTopic: b.topology.MessageSentQueue()}
		if err := b.tr.DeadLetters().Publish("", m); err != nil {
			t.Fatal(err)
		}
	}
	if _, s := scan(t, b.open(t), bus.Replay); s.Replayed != 3 {
		t.Errorf("got %+v, want three replayed", s)
	}
	ch := rabbit.Channel(t, b.url)
	rabbit.Eventually(t, "three in the queue", func() bool {
		q, err := ch.QueueDeclarePassive(b.topology.MessageSentQueue(), true, false, false, false, nil)
		return err == nil && q.Messages == 3
	})
}

func TestOneScanAtATime(t *testing.T) {
	t.Parallel()
	b := poisoned(t, 2)
	first, second := b.open(t), b.open(t)
	_, err := first.Scan(t.Context(), func(events.DeadLetter) (bus.Verdict, bool) {
		if _, err := second.Scan(t.Context(), nil); !errors.Is(err, bus.ErrPoisonQueueBusy) {
			t.Errorf("got %v, want %v", err, bus.ErrPoisonQueueBusy)
		}
		return bus.Keep, false
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenPoisonQueueTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const gone = "127.0.0.1:1" // tcpmux, where nobody listens
	_, err := bus.OpenPoisonQueue(t.Context(), bus.AMQPConfig{URL: "amqp://ann:secret@" + gone + "/"})
	if err == nil || !strings.Contains(err.Error(), gone) || !strings.Contains(err.Error(), "is RabbitMQ running?") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	q, err := bus.OpenPoisonQueue(t.Context(), bus.AMQPConfig{URL: rabbit.URL(t), Topology: events.Topology{Prefix: "nobody-has-this."}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if _, err := q.Scan(t.Context(), nil); !errors.Is(err, bus.ErrNoPoisonQueue) {
		t.Errorf("got %v, want %v", err, bus.ErrNoPoisonQueue)
	}
}
