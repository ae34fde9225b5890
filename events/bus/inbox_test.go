package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

func TestInboxTakesWhatWaits(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", batchBytes)
	for name, step := range map[string]struct {
		bodies string // a letter is a message; in capitals it came before
		big    int    // the message that fills a bundle by itself; 0: none
		want   string
	}{
		"one":               {"a", 0, "a"},
		"all that wait":     {"abc", 0, "abc"},
		"at most four":      {"abcdefghij", 0, "abcd efgh ij"},
		"came before":       {"A", 0, "A"},
		"came before, last": {"abC", 0, "ab C"},
		"came before, all":  {"ABC", 0, "A B C"},
		"mixed":             {"AbcDef", 0, "A bc D ef"},
		"bytes":             {"abcd", 2, "ab cd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &inbox{arrived: make(chan arrival, 100)}
			deliveries := make(chan amqp.Delivery, 100)
			for i, c := range step.bodies {
				d := amqp.Delivery{Acknowledger: &amqp.Channel{}, MessageId: string(c), DeliveryTag: uint64(i + 1), Redelivered: c < 'a'}
				if i+1 == step.big {
					d.Body = []byte(big)
				}
				deliveries <- d
			}
			close(deliveries)
			in.fill(deliveries)
			var got []string
			for in.wait(t.Context()) {
				ms, newest := in.take(4)
				one := ""
				for _, m := range ms {
					one += m.UUID
				}
				if newest.MessageId != ms[len(ms)-1].UUID {
					t.Errorf("bundle %s: acknowledged up to %s", one, newest.MessageId)
				}
				got = append(got, one)
			}
			if got := strings.Join(got, " "); got != step.want {
				t.Errorf("bundles of %s: got %s, want %s", step.bodies, got, step.want)
			}
		})
	}
}

func TestPhantomDeliveryEndsTheInbox(t *testing.T) {
	t.Parallel()
	in := &inbox{arrived: make(chan arrival, 2)}
	deliveries := make(chan amqp.Delivery, 2)
	deliveries <- amqp.Delivery{}
	in.fill(deliveries)
	if in.wait(t.Context()) || !errors.Is(in.err, errPhantom) {
		t.Errorf("got %v, want %v", in.err, errPhantom)
	}
}

// Of a bundle, what is beyond healing goes to the dead letters under its own message's name; the others are handled once.
func TestBundleIsHandledAsItsMessages(t *testing.T) {
	t.Parallel()
	part := func(id, contentType, body string, delivered int64) *message.Message {
		d := amqp.Delivery{Acknowledger: &amqp.Channel{}, MessageId: id, ContentType: contentType, RoutingKey: "key-" + id, Body: []byte(body)}
		if delivered > 0 {
			d.Headers = amqp.Table{"x-delivery-count": delivered}
		}
		m, err := received(d)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := bundle(t.Context(), []*message.Message{
		part("one", events.ContentType, `{"n":1}`, 0),
		part("broken", events.ContentTypeBatch, `[{`, 2),
		part("batch", events.ContentTypeBatch, `[{"n":2},{"n":3}]`, 1),
		part("empty", events.ContentTypeBatch, `[]`, 0),
	})
	dead := &letters{}
	var got []string
	tries := 0
	h := chain(dead, Options{RetryMin: 1}.withDefaults(), func(m *message.Message) ([]*message.Message, error) {
		return nil, handleMessage(m, func(_ context.Context, ds []Delivery) []error {
			if tries++; tries == 1 {
				return slices.Repeat([]error{errors.New("outage")}, len(ds))
			}
			errs := make([]error, len(ds))
			for i, d := range ds {
				got = append(got, string(d.Raw))
				if want := []int{1, 2, 2}[i]; d.Number != want || d.Try != 2 { // the batch came before
					t.Errorf("%s: delivery %d, try %d, want %d, 2", d.Raw, d.Number, d.Try, want)
				}
			}
			errs[2] = events.Permanent(errors.New("bad"))
			return errs
		}, slog.New(slog.DiscardHandler))
	})
	if _, err := h(m); err != nil {
		t.Fatal(err)
	}
	if want := []string{`{"n":1}`, `{"n":2}`, `{"n":3}`}; !slices.Equal(got, want) {
		t.Errorf("handled: got %s, want %s", got, want)
	}
	var letters []string
	for _, d := range dead.got {
		letters = append(letters, strings.Join([]string{d.Metadata[HeaderMessageID], d.Metadata[HeaderTopic], d.Metadata[HeaderAttempts], string(d.Payload)}, " "))
	}
	if want := []string{"broken key-broken 4 [{", `batch key-batch 3 {"n":3}`}; !slices.Equal(letters, want) {
		t.Errorf("dead letters: got %q, want %q", letters, want)
	}
}
