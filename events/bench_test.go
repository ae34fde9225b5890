package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

// BenchmarkCodec is what an event costs on its way: encoded by the chat room, joined by the relay, split and read by the
// persister. A batch has 256 events, and its figures are for all of them.
func BenchmarkCodec(b *testing.B) {
	const batch = 256
	m := events.MessageSent{
		Room: "ops", Seq: 44, Kind: events.KindMessage, ID: "0193b1c2-0000-7000-8000-000000000001", From: "ann", Text: strings.Repeat("x", 100),
		SentAt: time.UnixMilli(1767366245678).UTC(),
	}
	one, err := m.Encode("")
	if err != nil {
		b.Fatal(err)
	}
	many := make([][]byte, batch)
	for i := range many {
		many[i] = one
	}
	joined := events.EncodeBatch(many)
	for _, of := range []struct {
		name  string
		bytes int
		do    func() error
	}{
		{"encode", len(one), func() error { _, err := m.Encode(""); return err }},
		{"encode around the seq", len(one), func() error { _, _, _, err := m.EncodeAround(""); return err }},
		{"join a batch", len(joined), func() error { events.EncodeBatch(many); return nil }},
		{"split a batch", len(joined), func() error { _, err := events.Split(events.ContentTypeBatch, joined); return err }},
		{"decode", len(one), func() error { _, err := events.DecodeMessageSent(one); return err }},
	} {
		b.Run(of.name, func(b *testing.B) {
			b.SetBytes(int64(of.bytes))
			b.ReportAllocs()
			for b.Loop() {
				if err := of.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
