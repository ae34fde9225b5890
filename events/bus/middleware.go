package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// middlewares of a consumer, outermost first. The poison queue stands outside the retry (else the first error of an
// outage would be poisoned), and the delay outside of both.
func middlewares(dead message.Publisher, o Options) []message.HandlerMiddleware {
	return []message.HandlerMiddleware{
		observe(o),
		nackDelay(o),
		poison(dead, o),
		retry(o),
		middleware.Timeout(o.HandlerTimeout),
		middleware.Recoverer,
	}
}

func observe(o Options) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			start := time.Now()
			out, err := h(m)
			if o.Metrics.HandlerSeconds != nil {
				o.Metrics.HandlerSeconds(time.Since(start).Seconds(), err)
			}
			return out, err
		}
	}
}

// nackDelay keeps a message that could not be handled for a while before it goes back to the queue, which would
// deliver it again at once. A stop ends the wait.
func nackDelay(o Options) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := h(m)
			if err != nil {
				pause(m.Context(), o.NackDelay)
			}
			return out, err
		}
	}
}

// rejectedEvent is one event that no retry can heal.
type rejectedEvent struct {
	from        *message.Message
	contentType string
	raw         []byte
	err         error
}

// rejected is a handler's error when all that is left of its messages is beyond healing.
type rejected struct{ events []rejectedEvent }

func (r *rejected) Error() string {
	return fmt.Sprintf("%d events rejected, the first: %v", len(r.events), r.events[0].err)
}

// poison puts rejected events into the dead letters, each alone, and then takes their messages for done. Watermill's own
// middleware would put a whole batch there, and everything at a stop or during an outage.
func poison(dead message.Publisher, o Options) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			seen := time.Now().UTC()
			out, err := h(m)
			var r *rejected
			if mutant.PoisonOnShutdown && err != nil && m.Context().Err() != nil {
				all := &rejected{}
				for _, m := range unbundled(m) {
					all.events = append(all.events, rejectedEvent{from: m, contentType: m.Metadata[metaContentType], raw: m.Payload, err: err})
				}
				err = all
			}
			if !errors.As(err, &r) {
				return out, err
			}
			ctx, cancel := graceful(m.Context(), o.StopWithin)
			defer cancel()
			letters := make([]*message.Message, len(r.events))
			for i, e := range r.events {
				letters[i] = deadLetter(e, deliveries(e.from)+number(m, metaTry), seen)
				letters[i].SetContext(ctx)
			}
			if err := dead.Publish("", letters...); err != nil {
				return nil, fmt.Errorf("put %d events into the dead letters: %w", len(letters), err)
			}
			for _, l := range letters {
				o.Logger.Error("event put into the dead letters",
					"event_id", l.UUID, "message_id", l.Metadata[HeaderMessageID], "reason", l.Metadata[HeaderReason])
			}
			count(o.Metrics.DeadLettered, len(letters))
			return nil, nil
		}
	}
}

// What a dead letter says of its event has room in AMQP: an id and a type are short strings, and all headers share one frame,
// which can't be split. What is longer would end the connection, and its message would come again for ever. The body is whole.
const (
	shortString = 255      // bytes
	longReason  = 4 * 1024 // bytes
)

func deadLetter(e rejectedEvent, attempts int, seen time.Time) *message.Message {
	id, typ := e.from.UUID, e.from.Metadata[metaType]
	if env, err := events.Decode(e.raw); err == nil {
		id, typ = env.ID, env.Type
	}
	d := message.NewMessage(clip(id, shortString), e.raw)
	d.Metadata = message.Metadata{
		metaContentType: e.contentType,
		metaType:        clip(typ, shortString),
		HeaderReason:    clip(e.err.Error(), longReason),
		HeaderAttempts:  strconv.Itoa(attempts),
		HeaderFirstSeen: seen.Format(time.RFC3339Nano),
		HeaderMessageID: e.from.UUID,
		HeaderTopic:     e.from.Metadata[metaRoutingKey],
	}
	return d
}

// clip is s, or its beginning with an ellipsis where it has more bytes than that.
func clip(s string, most int) string {
	const ellipsis = "…"
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(ellipsis)], "") + ellipsis
}

// retry calls the handler again after a growing delay while it reports an outage. Each try has a context that a stop
// does not end at once; between tries a stop ends the waiting. Watermill's own Retry steps its delay twice a try and
// gives the handler the context that the stop has cancelled.
func retry(o Options) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			live := m.Context()
			defer m.SetContext(live)
			delay := backoff{first: o.RetryMin, max: o.RetryMax}
			for try := 1; ; try++ {
				m.Metadata[metaTry] = strconv.Itoa(try)
				out, err := attempt(live, h, m, o.StopWithin)
				if err == nil || events.IsPermanent(err) || try > o.Retries {
					return out, err
				}
				wait := delay.next()
				o.Logger.Warn("handling failed, trying again",
					"message_id", m.UUID, "try", try, "wait_ms", wait.Milliseconds(), "error", err)
				if !pause(live, wait) {
					return out, err
				}
			}
		}
	}
}

// deliveries counts how often a queue delivered the message before, 0 at the first time. Where no queue counts, a message
// that came before came once.
func deliveries(m *message.Message) (n int) {
	n = max(number(m, metaDeliveries), number(m, metaAcquired))
	if n == 0 && m.Metadata[metaRedelivered] != "" {
		n = 1
	}
	return n
}

// number is 0 where the metadata has none.
func number(m *message.Message, key string) int {
	n, _ := strconv.Atoi(m.Metadata[key])
	return n
}

func attempt(live context.Context, h message.HandlerFunc, m *message.Message, grace time.Duration) ([]*message.Message, error) {
	ctx, cancel := graceful(live, grace)
	defer cancel()
	m.SetContext(ctx)
	return h(m)
}
