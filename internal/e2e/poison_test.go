package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
)

// Messages that can never be stored, alone and in a batch with good ones: they end in the poison queue with their
// reasons, and nothing else is held up or harmed.
func TestAPoisonMessageHarmsNobody(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	s.persister()
	chat := s.chatroom()
	ann := hello(t, chat.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "good")
	ann.stored("r", 1)

	conn, err := amqp.Dial(s.brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	publish := func(contentType string, body []byte) {
		t.Helper()
		err := ch.PublishWithContext(context.Background(), s.topology.EventsExchange(), events.MessageSentKey(events.Shard("r")), true, false,
			amqp.Publishing{ContentType: contentType, MessageId: "planted", DeliveryMode: amqp.Persistent, Body: body})
		if err != nil {
			t.Fatal(err)
		}
	}
	event := func(seq int64, text string) []byte {
		b, err := events.MessageSent{
			Room: "r", Seq: seq, Kind: events.KindMessage, ID: fmt.Sprint("planted-", seq), From: "mallory", Text: text, SentAt: time.Now().UTC(),
		}.Encode("")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	publish(events.ContentType, []byte("no JSON at all"))
	publish(events.ContentTypeBatch, []byte(`{"not":"an array"}`))
	publish(events.ContentType, []byte(`{"specversion":"0.3","id":"x","type":"y","source":"z"}`))
	publish(events.ContentType, event(1, "contradicts what is stored"))
	publish(events.ContentTypeBatch, events.EncodeBatch([][]byte{
		event(5000, "good, in a bad company"), []byte(`{"specversion":"1.0"}`), event(5001, "with a NUL \x00 that no SQL text holds"),
	}))

	const planted = 6
	eventually(t, time.Minute, "all planted ones dead-lettered", func() error {
		if n := deadLetters(t, s); n != planted {
			return fmt.Errorf("%d of %d are", n, planted)
		}
		return nil
	})
	for range planted {
		d, ok, err := ch.Get(s.topology.DeadLetterQueue(), true)
		if err != nil || !ok {
			t.Fatalf("read the poison queue: %v, %v", ok, err)
		}
		reason, _ := d.Headers[bus.HeaderReason].(string)
		if strings.TrimSpace(reason) == "" {
			t.Errorf("dead letter %q without a reason: %v", d.MessageId, d.Headers)
		}
	}
	if n, err := s.count(`SELECT count(*) FROM persister.messages WHERE room = 'r' AND seq = 5000`); err != nil || n != 1 {
		t.Errorf("the good event of the batch: %d stored, %v", n, err)
	}
	ann.send("r", "2", "life goes on")
	ann.stored("r", 2)
	if e := ann.events("r", 0, 2)[0]; e.Text != "good" {
		t.Errorf("the stored event was changed: %+v", e)
	}
}
