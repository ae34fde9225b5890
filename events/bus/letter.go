package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// letterOf reads a delivery of the poison queue, whoever put it there: this package, or the broker by itself, whose word
// is the header x-death.
func letterOf(d amqp.Delivery) events.DeadLetter {
	header := func(name string) string {
		s, _ := d.Headers[name].(string)
		return s
	}
	l := events.DeadLetter{
		ID: d.MessageId, Type: d.Type, ContentType: d.ContentType, Body: d.Body,
		Carrier: header(HeaderMessageID), Topic: header(HeaderTopic), Reason: header(HeaderReason),
	}
	l.Attempts, _ = strconv.Atoi(header(HeaderAttempts))
	l.FirstSeen, _ = time.Parse(time.RFC3339Nano, header(HeaderFirstSeen))
	if deaths, _ := d.Headers["x-death"].([]any); l.Reason == "" && len(deaths) > 0 {
		death, _ := deaths[0].(amqp.Table)
		reason, _ := death["reason"].(string)
		l.Reason = "the broker put it here: " + reason
		if at, ok := death["time"].(time.Time); ok && l.FirstSeen.IsZero() {
			l.FirstSeen = at.UTC()
		}
		if keys, _ := death["routing-keys"].([]any); len(keys) > 0 && l.Topic == "" {
			l.Topic, _ = keys[0].(string)
		}
	}
	l.Key = keyOf(l.Body, 5, l.ID, l.Carrier, l.Reason, l.FirstSeen.Format(time.RFC3339Nano))
	return l
}

// letterOfMessage reads a message on its way to the dead letters. Its key is that of the bytes alone: who keeps letters by
// their keys counts the same event that is refused again.
func letterOfMessage(m *message.Message) events.DeadLetter {
	l := events.DeadLetter{
		ID: m.UUID, Type: m.Metadata[metaType], ContentType: m.Metadata[metaContentType], Body: m.Payload,
		Carrier: m.Metadata[HeaderMessageID], Topic: m.Metadata[HeaderTopic], Reason: m.Metadata[HeaderReason],
	}
	l.Attempts, _ = strconv.Atoi(m.Metadata[HeaderAttempts])
	l.FirstSeen, _ = time.Parse(time.RFC3339Nano, m.Metadata[HeaderFirstSeen])
	l.Key = keyOf(l.Body, 8, l.ContentType)
	return l
}

// keyOf is short enough to be typed; bytes is how much of the hash it has.
func keyOf(body []byte, bytes int, parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = io.WriteString(h, part+"\x00") // a hash never fails
	}
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:bytes])
}
