package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// inbox holds what a consumer was sent and has not handed out.
type inbox struct {
	arrived chan arrival // closed when the consumer is gone
	err     error        // a delivery that cannot be; read after arrived is closed
	next    *arrival     // taken out of arrived already; owned by the one who hands out
}

type arrival struct {
	*message.Message
	delivery amqp.Delivery // acknowledges it
}

func (a arrival) again() bool { return a.Metadata[metaRedelivered] != "" }

// fill ends with the consumer. The broker keeps to the prefetch, which arrived has room for.
func (in *inbox) fill(deliveries <-chan amqp.Delivery) {
	defer close(in.arrived)
	for d := range deliveries {
		m, err := received(d)
		if err != nil {
			in.err = err
			return
		}
		in.arrived <- arrival{m, d}
	}
}

// wait is true when there is a next message, false when ctx has ended or no message comes any more.
func (in *inbox) wait(ctx context.Context) bool {
	if in.next != nil {
		return true
	}
	select {
	case a, ok := <-in.arrived:
		if ok {
			in.next = &a
		}
	case <-ctx.Done():
	}
	return in.next != nil
}

// take returns the next message and those that arrived behind it, at most some of them and about batchBytes, and the
// newest's delivery. A message that came before stays alone: whatever it did to its handler hits no other again.
func (in *inbox) take(most int) (ms []*message.Message, newest amqp.Delivery) {
	size := 0
	for in.next != nil && len(ms) < most && size < batchBytes {
		a := in.next
		if a.again() && len(ms) > 0 {
			break
		}
		ms, newest, size, in.next = append(ms, a.Message), a.delivery, size+len(a.Payload), nil
		if a.again() {
			break
		}
		select {
		case a, ok := <-in.arrived:
			if ok {
				in.next = &a
			}
		default:
		}
	}
	return ms, newest
}
