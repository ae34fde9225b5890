package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Delivery is one event out of a message.
type Delivery struct {
	Raw         []byte // the encoded envelope, not judged yet; must not be changed
	Redelivered bool   // its message came before
	Number      int    // which delivery of its message it is, from 1, as far as the transport counts
	Try         int    // which try of the delivery, from 1
}

// RunConsumer feeds the events of the persister's queue to handle, from many goroutines at once, until ctx ends; then
// it waits for what is in flight, at most Options.StopWithin, and returns nil.
//
// handle gets all events of the messages that waited together and returns an error for each, in their order; nil means
// that the event is stored for good. Events whose error is permanent (events.IsPermanent) go to the dead letters alone;
// with any other error all of them are handled again, so handle must be idempotent. Its context ends with a time-out, or some
// time after the stop.
func RunConsumer(ctx context.Context, t Transport, handle func(ctx context.Context, ds []Delivery) []error, o Options) error {
	o = o.withDefaults()
	r, err := newRouter(o)
	if err != nil {
		return fmt.Errorf("make a router: %w", err)
	}
	r.AddMiddleware(middlewares(t.DeadLetters(), o)...)
	subs := make([]message.Subscriber, o.Handlers)
	for i := range subs {
		subs[i] = endable{t.EventsSubscriber(o.InFlight)}
		r.AddConsumerHandler("consumer-"+strconv.Itoa(i), events.MessageSentBinding, subs[i], func(m *message.Message) error {
			if mutant.AckBeforeInsert {
				ctx := context.WithoutCancel(m.Context())
				m := m.Copy()
				m.SetContext(ctx)
				go func() { _ = handleMessage(m, handle, o.Logger) }()
				return nil
			}
			return handleMessage(m, handle, o.Logger)
		})
	}
	return runRouter(ctx, r, subs...)
}

func handleMessage(m *message.Message, handle func(context.Context, []Delivery) []error, log *slog.Logger) error {
	var ds []Delivery
	var from []*message.Message // from[i] held ds[i]
	var bad []rejectedEvent
	try := max(number(m, metaTry), 1)
	for _, m := range unbundled(m) {
		parts, err := events.Split(m.Metadata[metaContentType], m.Payload)
		if err != nil {
			bad = append(bad, rejectedEvent{from: m, contentType: m.Metadata[metaContentType], raw: m.Payload, err: err})
		}
		d := Delivery{Redelivered: m.Metadata[metaRedelivered] != "", Number: deliveries(m) + 1, Try: try}
		for _, p := range parts {
			d.Raw = p
			ds, from = append(ds, d), append(from, m)
		}
	}
	if len(ds) > 0 {
		errs := handle(m.Context(), ds)
		if len(errs) != len(ds) {
			return fmt.Errorf("handler answered %d of %d events", len(errs), len(ds))
		}
		logEvents(m.Context(), log, ds, errs)
		for i, err := range errs {
			switch {
			case err == nil:
			case events.IsPermanent(err):
				bad = append(bad, rejectedEvent{from: from[i], contentType: events.ContentType, raw: ds[i].Raw, err: err})
			default:
				return fmt.Errorf("handle event %d of %d: %w", i+1, len(ds), err)
			}
		}
	}
	if len(bad) > 0 {
		return events.Permanent(&rejected{events: bad})
	}
	return nil
}

// logEvents leaves a line for each event, for who follows one through the logs: no table keeps how often it was delivered.
func logEvents(ctx context.Context, log *slog.Logger, ds []Delivery, errs []error) {
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for i, d := range ds {
		if e, err := events.Decode(d.Raw); err == nil {
			log.Debug("event handled", "event_id", e.ID, "deliveries", d.Number, "error", errs[i])
		}
	}
}
