package bus

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rafaeldepontes/go-chat/events"
)

// RunFanout gives every event of the fan-out to handle, one after the other, until ctx ends; then it returns nil.
// instance names this reader, unique among the processes alive. Nothing is delivered twice on purpose, and anything
// may be missing. What is no event is logged and skipped.
func RunFanout(ctx context.Context, t Transport, instance string, handle func(ctx context.Context, e events.Envelope), o Options) error {
	o = o.withDefaults()
	r, err := newRouter(o)
	if err != nil {
		return fmt.Errorf("make a router: %w", err)
	}
	sub := endable{t.FanoutSubscriber(instance)}
	r.AddConsumerHandler("fanout", "fanout", sub, func(m *message.Message) error {
		ctx, cancel := graceful(m.Context(), o.StopWithin)
		defer cancel()
		for _, m := range unbundled(m) {
			parts, err := events.Split(m.Metadata[metaContentType], m.Payload)
			if err != nil {
				o.Logger.Warn("fan-out message skipped", "message_id", m.UUID, "error", err)
				continue
			}
			for _, p := range parts {
				e, err := events.Decode(p)
				if err != nil {
					o.Logger.Warn("fan-out event skipped", "message_id", m.UUID, "error", err)
					continue
				}
				handle(ctx, e)
			}
		}
		return nil
	})
	return runRouter(ctx, r, sub)
}

// Broadcast sends encoded envelopes to every reader of the fan-out, several in one message. It is best effort: it does
// not wait, and what cannot be sent now is lost. The error is about a closed transport only. The bodies must not be
// changed afterwards.
func Broadcast(t Transport, key string, bodies ...[]byte) error {
	var msgs []*message.Message
	for len(bodies) > 0 {
		n := batchLen(bodies, DefaultBatchEvents, batchBytes)
		msgs = append(msgs, envelopeMessage("", "", key, bodies[:n]))
		bodies = bodies[n:]
	}
	if len(msgs) == 0 {
		return nil
	}
	return t.Fanout().Publish(key, msgs...)
}

// batchLen is how many of bodies fit into a batch, at least one.
func batchLen(bodies [][]byte, most, bytes int) int {
	n, size := 0, 0
	for _, b := range bodies {
		size += len(b) + 1
		if n > 0 && (n == most || size > bytes) {
			break
		}
		n++
	}
	return n
}

// envelopeMessage holds one envelope as it is, and several as a batch.
func envelopeMessage(id, typ, key string, bodies [][]byte) *message.Message {
	body, contentType := bodies[0], events.ContentType
	if len(bodies) > 1 {
		body, contentType = events.EncodeBatch(bodies), events.ContentTypeBatch
	}
	m := message.NewMessage(id, body)
	m.Metadata[metaContentType] = contentType
	if typ != "" {
		m.Metadata[metaType] = typ
	}
	m.Metadata[metaRoutingKey] = key
	return m
}
