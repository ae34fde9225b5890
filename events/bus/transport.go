package bus

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Transport moves messages between services. Its publishers and subscribers are safe for concurrent use; their Close
// does nothing for publishers, since a router closes the publisher of a handler that stops, also for the others.
type Transport interface {
	// Events is the durable publisher; the topic is the routing key. Publish sends all messages, then waits for all
	// of them: nil means that each has been handed over for good.
	Events() message.Publisher
	// EventsSubscriber reads the persister's queue, with at most inFlight messages not yet acknowledged for each
	// subscription; several may be handed out as one bundle. With one in flight the order is kept. Every call makes a
	// subscriber of its own.
	EventsSubscriber(inFlight int) message.Subscriber
	// Fanout is the best-effort publisher to every replica. It drops instead of blocking, and returns an error only
	// when the transport is closed.
	Fanout() message.Publisher
	// FanoutSubscriber reads everything that is sent to the fan-out from now on. The instance names the reader and
	// must be unique among the processes alive.
	FanoutSubscriber(instance string) message.Subscriber
	// DeadLetters is the durable publisher to the poison queue.
	DeadLetters() message.Publisher
	// Ready is nil when events can be published and consumed now, and every subscription to the persister's queue
	// consumes; otherwise it says why not.
	Ready() error
	// Run blocks until ctx ends, then closes the transport.
	Run(ctx context.Context) error
	// Close ends all subscriptions and connections, and waits for the transport's goroutines.
	Close() error
}

// Errors of a transport; test with errors.Is.
var (
	ErrClosed       = errors.New("bus is closed")
	ErrNotConnected = errors.New("broker is not connected")
	ErrNotConsuming = errors.New("the queue is not consumed")
	ErrBlocked      = errors.New("broker refuses publishing")       // a memory or disk alarm there
	ErrUnconfirmed  = errors.New("publishing was not confirmed")    // the outcome is unknown: publish again
	ErrUnroutable   = errors.New("no queue takes the message")      // the broker returned it
	ErrAbsent       = errors.New("no consumer takes the message")   // in process
	ErrTimeout      = errors.New("publishing was not done in time") // wrapped together with ErrUnconfirmed
)

// Metrics are hooks for whoever counts. Each may be nil; they are called from several goroutines and must not block.
type Metrics struct {
	Published      func(n int)                      // events messages handed to the broker
	Confirmed      func(n int)                      // of these, confirmed
	Returned       func(n int)                      // of these, returned as unroutable
	Redelivered    func(n int)                      // consumed messages that had been delivered before
	DeadLettered   func(n int)                      // events put into the poison queue
	FanoutDropped  func(n int)                      // fan-out messages lost on this side
	HandlerSeconds func(seconds float64, err error) // one handled message or bundle, its retries included
}

func count(f func(int), n int) {
	if f != nil && n > 0 {
		f(n)
	}
}

// Keys of a message's metadata that travel as AMQP properties instead of headers.
const (
	metaContentType = "content_type"
	metaType        = "type"
	metaRoutingKey  = "routing_key"      // overrides the topic
	metaRedelivered = "redelivered"      // "true" on a message that came before; only on consumed ones
	metaTry         = "try"              // which one of this delivery, from 1; only on consumed ones
	metaDeliveries  = "x-delivery-count" // set by quorum queues; RabbitMQ 4.3 (seen) leaves out what was given back
	metaAcquired    = "x-acquired-count" // set by those of newer versions: every earlier delivery
)

// Names of the headers on a dead letter.
const (
	HeaderReason    = "gochat-reason"     // the error's text
	HeaderAttempts  = "gochat-attempts"   // how often it was handled, earlier deliveries included
	HeaderFirstSeen = "gochat-first-seen" // RFC 3339, when this delivery was first handled
	HeaderMessageID = "gochat-message-id" // of the message that held the event
	HeaderTopic     = "gochat-topic"      // its routing key
)
