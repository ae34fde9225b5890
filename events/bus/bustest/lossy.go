package bustest

import (
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events/bus"
)

// lossyTransport fails the first publishes of events.
type lossyTransport struct {
	bus.Transport
	fails int32
	tried atomic.Int32
}

func (l *lossyTransport) Events() message.Publisher { return lossyPublisher{l.Transport.Events(), l} }

type lossyPublisher struct {
	message.Publisher
	l *lossyTransport
}

func (p lossyPublisher) Publish(topic string, msgs ...*message.Message) error {
	if p.l.tried.Add(1) <= p.l.fails {
		return fmt.Errorf("publish %d: %w", len(msgs), bus.ErrUnroutable)
	}
	return p.Publisher.Publish(topic, msgs...)
}
