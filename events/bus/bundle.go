package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// bundleKey finds the messages of a bundle in its context.
type bundleKey struct{}

// bundle makes one message of several that waited together, so that a router's cost is for all of them; its handler gets
// them back by unbundled. One message stays as it is.
func bundle(ctx context.Context, ms []*message.Message) *message.Message {
	m := ms[0]
	if len(ms) > 1 {
		m = message.NewMessage(m.UUID, nil)
		ctx = context.WithValue(ctx, bundleKey{}, ms)
	}
	m.SetContext(ctx)
	return m
}

// unbundled are the messages that a handler got as one.
func unbundled(m *message.Message) []*message.Message {
	if ms, ok := m.Context().Value(bundleKey{}).([]*message.Message); ok {
		return ms
	}
	return []*message.Message{m}
}
