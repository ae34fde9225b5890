package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

// The window of every benchmark here, as the relay has it.
const benchWindow = 1024

// BenchmarkPublish compares ways to publish persistent, confirmed messages to a quorum queue. One operation is one
// event; msgs/s is what to compare.
func BenchmarkPublish(b *testing.B) {
	body := bustest.MessageSent(b, "ops", 1)
	b.Run("own publisher, pipelined", func(b *testing.B) {
		tr := benchTransport(b)
		perEvent(b, func(n int) error {
			msgs := make([]*message.Message, n)
			for i := range msgs {
				msgs[i] = message.NewMessage("ops/1", body)
				msgs[i].Metadata["content_type"] = events.ContentType
			}
			return tr.Events().Publish(events.MessageSentKey(1), msgs...)
		})
	})
	b.Run("own publisher, batches of 256", func(b *testing.B) {
		tr := benchTransport(b)
		perEvent(b, func(n int) error {
			var msgs []*message.Message
			for n > 0 {
				part := make([][]byte, min(n, 256))
				for i := range part {
					part[i] = body
				}
				n -= len(part)
				m := message.NewMessage("ops/1", events.EncodeBatch(part))
				m.Metadata["content_type"] = events.ContentTypeBatch
				msgs = append(msgs, m)
			}
			return tr.Events().Publish(events.MessageSentKey(1), msgs...)
		})
	})
	b.Run("watermill-amqp, confirm after each", func(b *testing.B) {
		_, url, topology := benchBroker(b)
		pub, err := wamqp.NewPublisher(wamqp.Config{
			Connection: wamqp.ConnectionConfig{AmqpURI: url},
			Marshaler:  wamqp.DefaultMarshaler{},
			Exchange:   wamqp.ExchangeConfig{GenerateName: func(string) string { return topology.EventsExchange() }, Type: "topic", Durable: true},
			Publish: wamqp.PublishConfig{
				GenerateRoutingKey: func(topic string) string { return topic }, ConfirmDelivery: true, ChannelPoolSize: 1,
			},
			TopologyBuilder: &wamqp.DefaultTopologyBuilder{},
		}, watermill.NopLogger{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = pub.Close() })
		perEvent(b, func(n int) error {
			msgs := make([]*message.Message, n)
			for i := range msgs {
				msgs[i] = message.NewMessage("ops/1", body)
			}
			return pub.Publish(events.MessageSentKey(1), msgs...)
		})
	})
	b.Run("amqp091 alone, pipelined", func(b *testing.B) {
		_, url, topology := benchBroker(b)
		ch := rabbit.Channel(b, url)
		if err := ch.Confirm(false); err != nil {
			b.Fatal(err)
		}
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation, benchWindow))
		perEvent(b, func(n int) error {
			for range n {
				err := ch.PublishWithContext(b.Context(), topology.EventsExchange(), events.MessageSentKey(1), true, false, amqp.Publishing{
					ContentType: events.ContentType, MessageId: "ops/1", DeliveryMode: amqp.Persistent, Body: body,
				})
				if err != nil {
					return err
				}
			}
			for range n {
				if c := <-confirms; !c.Ack {
					return fmt.Errorf("message %d refused", c.DeliveryTag)
				}
			}
			return nil
		})
	})
}

// BenchmarkConsume takes events from a quorum queue with a handler that needs no time.
func BenchmarkConsume(b *testing.B) {
	body := bustest.MessageSent(b, "ops", 1)
	for _, per := range []int{1, 256} {
		b.Run(fmt.Sprintf("%d events a message", per), func(b *testing.B) {
			tr := benchTransport(b)
			part := make([][]byte, per)
			for i := range part {
				part[i] = body
			}
			for left := b.N; left > 0; {
				var msgs []*message.Message
				for ; left > 0 && len(msgs) < benchWindow; left -= per {
					m := message.NewMessage("ops/1", body)
					m.Metadata["content_type"] = events.ContentType
					if per > 1 {
						m.Payload, m.Metadata["content_type"] = events.EncodeBatch(part), events.ContentTypeBatch
					}
					msgs = append(msgs, m)
				}
				if err := tr.Events().Publish(events.MessageSentKey(1), msgs...); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(b.Context())
			got := make(chan int, 1<<16)
			done := make(chan error, 1)
			b.ResetTimer()
			start := time.Now()
			go func() {
				done <- bus.RunConsumer(ctx, tr, func(_ context.Context, ds []bus.Delivery) []error {
					got <- len(ds)
					return make([]error, len(ds))
				}, bus.Options{})
			}()
			for n := 0; n < b.N; {
				n += <-got
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "events/s")
			b.StopTimer()
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func benchBroker(b *testing.B) (bus.Transport, string, events.Topology) {
	b.Helper()
	url, topology := rabbit.URL(b), rabbit.Topology(b)
	tr, err := bus.DialAMQP(b.Context(), bus.AMQPConfig{URL: url, Topology: topology})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tr.Close() })
	rabbit.Eventually(b, "transport ready", func() bool { return tr.Ready() == nil })
	return tr, url, topology
}

func benchTransport(b *testing.B) bus.Transport {
	b.Helper()
	tr, _, _ := benchBroker(b)
	return tr
}

// perEvent calls publish with windows until b.N events are published.
func perEvent(b *testing.B, publish func(n int) error) {
	b.Helper()
	b.ResetTimer()
	start := time.Now()
	for left := b.N; left > 0; {
		n := min(left, benchWindow)
		if err := publish(n); err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "events/s")
	b.StopTimer()
}
