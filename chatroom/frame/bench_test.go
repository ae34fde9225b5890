package frame_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// BenchmarkParse reads frames of clients.
func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{
		"join":        `{"type":"join","id":"1","room":"ops","after":41,"epoch":"e3f"}`,
		"send 100 B":  `{"type":"send","id":"0193b1c2-0000-7000-8000-000000000001","room":"ops","text":"` + strings.Repeat("x", 100) + `"}`,
		"send 4096 B": `{"type":"send","id":"0193b1c2-0000-7000-8000-000000000001","room":"ops","text":"` + strings.Repeat("x", 4096) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(text)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := frame.Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchEvent(seq int64) frame.Event {
	return frame.Event{
		Seq: seq, Kind: "message", ID: "0193b1c2-0000-7000-8000-000000000001", From: "ann", SentAt: time.UnixMilli(1767366245678).UTC(),
		Text: strings.Repeat("x", 100),
	}
}

// BenchmarkEncode encodes what is encoded for each message: the answer to its sender, and the event, once for all readers.
func BenchmarkEncode(b *testing.B) {
	for name, v := range map[string]any{
		"accepted": frame.Accepted{Type: frame.TypeAccepted, ID: "0193b1c2-0000-7000-8000-000000000001", Room: "ops", Seq: 44, SentAt: time.UnixMilli(1767366245678).UTC()},
		"event":    benchEvent(44),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				frame.Encode(v)
			}
		})
	}
}

// BenchmarkAppendEvents makes the frame that a reader gets, of events that are encoded, in a buffer that is used again.
func BenchmarkAppendEvents(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d events", n), func(b *testing.B) {
			encoded := make([][]byte, n)
			for i := range encoded {
				encoded[i] = frame.Encode(benchEvent(int64(i + 1)))
			}
			out := frame.AppendEvents(nil, "ops", encoded)
			b.ReportAllocs()
			for b.Loop() {
				out = frame.AppendEvents(out[:0], "ops", encoded)
			}
			b.SetBytes(int64(len(out)))
		})
	}
}
