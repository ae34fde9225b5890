package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// Options of the Run functions. The zero value is usable; each field says what zero means.
type Options struct {
	Logger  *slog.Logger // nil: discarded
	Metrics Metrics

	// StopWithin is how long what is in flight may go on after the context's end. Default 8 s.
	StopWithin time.Duration

	// Of RunConsumer.
	Handlers       int           // consumers side by side; default 4
	InFlight       int           // messages sent to each without an acknowledgement, half of them to its handler; default 256
	HandlerTimeout time.Duration // bounds one try; default 30 s
	Retries        int           // tries in place after the first; default 8
	RetryMin       time.Duration // first delay between them; default 100 ms
	RetryMax       time.Duration // longest; default 10 s
	NackDelay      time.Duration // before a message goes back to its queue; default 5 s

	// Of RunRelay.
	BatchEvents int // events of one shard in a message, if so many wait; default [DefaultBatchEvents]
	BatchBytes  int // bytes of a batch's events; default 256 KiB
	// Publishing is called before a window is handed to the broker. What it returns is called after that, with nil when
	// the broker has confirmed all of it, and otherwise with why it is published again. May be nil.
	Publishing func(rows []outbox.Row) (settled func(err error))
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	orInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	orTime := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orTime(&o.StopWithin, 8*time.Second)
	orInt(&o.Handlers, 4)
	orInt(&o.InFlight, 256)
	orTime(&o.HandlerTimeout, 30*time.Second)
	orInt(&o.Retries, 8)
	orTime(&o.RetryMin, 100*time.Millisecond)
	orTime(&o.RetryMax, 10*time.Second)
	orTime(&o.NackDelay, 5*time.Second)
	orInt(&o.BatchEvents, DefaultBatchEvents)
	orInt(&o.BatchBytes, batchBytes)
	if o.Publishing == nil {
		o.Publishing = func([]outbox.Row) func(error) { return func(error) {} }
	}
	return o
}

// DefaultBatchEvents is how many events a message of this package holds at most.
const DefaultBatchEvents = 256

// batchBytes bounds a batch too.
const batchBytes = 256 << 10

func newRouter(o Options) (*message.Router, error) {
	// The second on top lets a handler that ends with its grace be counted as ended.
	return message.NewRouter(message.RouterConfig{CloseTimeout: o.StopWithin + time.Second}, logAdapter{o.Logger})
}

// runRouter runs r until ctx ends. It stops by that context alone: Router.Close would give back the messages in flight
// while their handlers still commit.
func runRouter(ctx context.Context, r *message.Router, subs ...message.Subscriber) error {
	err := r.Run(ctx)
	for _, s := range subs {
		err = errors.Join(err, s.Close())
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = ErrClosed
	}
	return fmt.Errorf("all subscriptions ended: %w", err)
}

// endable makes a subscriber whose transport is closed an empty one: a router that cannot subscribe returns at once and
// leaves a goroutine behind for ever, one whose subscriptions end stops in order.
type endable struct{ message.Subscriber }

func (e endable) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	out, err := e.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		ended := make(chan *message.Message)
		close(ended)
		return ended, nil
	}
	return out, nil
}

// logAdapter gives Watermill's log lines to slog, a level lower: what it calls an error is retried here, and its
// information is about each handler.
type logAdapter struct{ log *slog.Logger }

func (a logAdapter) attrs(f watermill.LogFields) []any {
	out := make([]any, 0, 2*len(f))
	for k, v := range f {
		if k != "not_sent_message" {
			out = append(out, k, v)
		}
	}
	return out
}

func (a logAdapter) Error(msg string, err error, f watermill.LogFields) {
	a.log.Warn("watermill reports an error", append(a.attrs(f), "what", msg, "error", err)...)
}

func (a logAdapter) Info(msg string, f watermill.LogFields) { a.Debug(msg, f) }

func (a logAdapter) Debug(msg string, f watermill.LogFields) {
	if a.log.Enabled(context.Background(), slog.LevelDebug) { // several lines a message: don't build them in vain
		a.log.Debug("watermill", append(a.attrs(f), "what", msg)...)
	}
}

// Trace is about single messages, with nothing that this package's own lines do not say.
func (a logAdapter) Trace(string, watermill.LogFields) {}

func (a logAdapter) With(f watermill.LogFields) watermill.LoggerAdapter {
	return logAdapter{a.log.With(a.attrs(f)...)}
}
