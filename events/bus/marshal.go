package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// errPhantom is what a consumer cancelled by the broker may yield: a delivery that nobody sent.
var errPhantom = errors.New("delivery without an acknowledger")

// publishing turns a message into what is sent. The key is its routing key.
func publishing(topic string, m *message.Message, mode uint8) (key string, p amqp.Publishing) {
	p = amqp.Publishing{
		ContentType:  m.Metadata[metaContentType],
		Type:         m.Metadata[metaType],
		MessageId:    m.UUID,
		DeliveryMode: mode,
		Timestamp:    time.Now(),
		Body:         m.Payload,
	}
	key = topic
	for k, v := range m.Metadata {
		switch k {
		case metaContentType, metaType, metaRedelivered:
		case metaRoutingKey:
			key = v
		default:
			if p.Headers == nil {
				p.Headers = amqp.Table{}
			}
			p.Headers[k] = v
		}
	}
	return key, p
}

// received turns a delivery into a message. A header that is no string never makes a delivery fail (brokers add
// x-delivery-count, a number, and x-death, a list): numbers and truth values are printed, the rest is left out.
func received(d amqp.Delivery) (*message.Message, error) {
	if d.Acknowledger == nil {
		return nil, errPhantom
	}
	m := message.NewMessage(d.MessageId, d.Body)
	for k, v := range d.Headers {
		switch v := v.(type) {
		case string:
			m.Metadata[k] = v
		case bool, int, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64:
			m.Metadata[k] = fmt.Sprint(v)
		case time.Time:
			m.Metadata[k] = v.UTC().Format(time.RFC3339Nano)
		}
	}
	m.Metadata[metaContentType] = d.ContentType
	m.Metadata[metaType] = d.Type
	m.Metadata[metaRoutingKey] = d.RoutingKey
	delete(m.Metadata, metaRedelivered)
	if d.Redelivered || deliveries(m) > 0 {
		m.Metadata[metaRedelivered] = "true"
	}
	return m, nil
}
