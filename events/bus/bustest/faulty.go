package bustest

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events/bus"
)

// Faulty is a transport as one process has it, whose calls go wrong as its functions say. Each may do what it is given
// or not, and answer what it likes.
type Faulty struct {
	bus.Transport
	OnEvents func(publish func() error) error
	OnFanout func(publish func() error) error
}

// Events implements bus.Transport.
func (f Faulty) Events() message.Publisher { return faultyPublisher{f.Transport.Events(), f.OnEvents} }

// Fanout implements bus.Transport.
func (f Faulty) Fanout() message.Publisher { return faultyPublisher{f.Transport.Fanout(), f.OnFanout} }

type faultyPublisher struct {
	message.Publisher
	on func(publish func() error) error
}

func (p faultyPublisher) Publish(topic string, msgs ...*message.Message) error {
	return p.on(func() error { return p.Publisher.Publish(topic, msgs...) })
}
