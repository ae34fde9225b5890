package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/events"
)

// What is written by hand is what encoding/json writes, to the byte.
func FuzzEncodeAsEncodingJSONDoes(f *testing.F) {
	f.Add("ops", int64(44), "message", "0193b", "ann <a&b>", "on it – <now> & \"here\"\n", int64(1767366245678), "")
	f.Add("", int64(-1), "\x00", "\u2028\u2029", "\\", "\xff\xfe", int64(0), traceparent)
	f.Add("a", int64(1), "k", "i", "f", "\U0001F600 \u007f \t \b", int64(253402300800000), "x")
	f.Fuzz(func(t *testing.T, room string, seq int64, kind, id, from, text string, ms int64, trace string) {
		m := events.MessageSent{Room: room, Seq: seq, Kind: kind, ID: id, From: from, Text: text, SentAt: time.UnixMilli(ms).UTC()}
		got, err := m.Encode(trace)
		want, wantErr := m.EncodeReflected(trace)
		if string(got) != string(want) || (err == nil) != (wantErr == nil) {
			t.Errorf("got %s, %v\nwant %s, %v", got, err, want, wantErr)
		}
	})
}

// What is read by hand encoding/json reads as well, and finds the same in it.
func FuzzDecodeAsEncodingJSONDoes(f *testing.F) {
	for _, name := range []string{"message_sent.json", "message_sent_traced.json", "message_sent_batch.json", "messages_stored.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.TrimSuffix(b, []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := events.DecodeCanonical(b); ok {
			want, err := events.DecodeReflected(b)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", b, err, diff)
			}
		}
		if got, ok := events.SplitCanonical(b); ok {
			var want []json.RawMessage
			err := json.Unmarshal(b, &want)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", b, err, diff)
			}
		}
	})
}

// The way by hand is the one that is taken, or all of this would be in vain.
func TestWhatIsEncodedIsDecodedByHand(t *testing.T) {
	t.Parallel()
	m := sent
	for _, text := range []string{"plain", "", "– ✓ <&>", "a \"word\" \\ \n\t\u2028 \x01"} {
		m.Text = text
		for _, trace := range []string{"", traceparent} {
			b, err := m.Encode(trace)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := events.DecodeCanonical(b)
			if diff := cmp.Diff(m, got); !ok || diff != "" {
				t.Errorf("%s: by hand: %v (-want +got):\n%s", b, ok, diff)
			}
			if parts, ok := events.SplitCanonical(events.EncodeBatch([][]byte{b, b, b})); !ok || len(parts) != 3 || !bytes.Equal(parts[1], b) {
				t.Errorf("%s: split by hand: %v, %q", b, ok, parts)
			}
		}
	}
}

// What is not quite the form is left to encoding/json.
func TestWhatIsNotCanonicalIsNotDecodedByHand(t *testing.T) {
	t.Parallel()
	b, err := sent.Encode("")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ old, with string }{
		{`"seq":44`, `"seq":044`}, {`"seq":44`, `"seq":-4`}, {`"seq":44`, `"seq":0`}, {`"seq":44`, `"seq":`}, {`"seq":44`, `"seq":4.0`},
		{`"seq":44`, `"seq":99999999999999999999`}, {`"kind":"message"`, `"kind":""`}, {`\n`, "\n"}, {`\n`, `\x`}, {`\n`, `\u12`}, {`–`, "\xff"},
		{`}}`, `}}x`}, {`}}`, `}`}, {`{"spec`, ` {"spec`}, {`,"time"`, `, "time"`}, {`05.678Z","data`, `05.678","data`}, {`"sent_at":"2026`, `"sent_at":"x2026`},
		{`1.0`, `1.1`}, {`MessageSent`, `MessageGone`},
	} {
		changed := bytes.Replace(b, []byte(r.old), []byte(r.with), 1)
		if bytes.Equal(changed, b) {
			t.Fatalf("no %s in %s", r.old, b)
		}
		if m, ok := events.DecodeCanonical(changed); ok {
			t.Errorf("%s: decoded by hand: %+v", changed, m)
		}
	}
	for _, batch := range []string{"[]", "", "[", fmt.Sprintf("[%s,]", b), fmt.Sprintf("[%s %s]", b, b), fmt.Sprintf("[%s]x", b)} {
		if parts, ok := events.SplitCanonical([]byte(batch)); ok {
			t.Errorf("%s: split by hand: %q", batch, parts)
		}
	}
}

func BenchmarkDecodeMessageSent(b *testing.B) { benchDecode(b, events.DecodeMessageSent) }

func BenchmarkDecodeMessageSentReflected(b *testing.B) { benchDecode(b, events.DecodeReflected) }

func benchDecode(b *testing.B, decode func([]byte) (events.MessageSent, error)) {
	raw, err := sent.Encode("")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeMessageSent(b *testing.B) { benchEncode(b, events.MessageSent.Encode) }

func BenchmarkEncodeMessageSentReflected(b *testing.B) {
	benchEncode(b, events.MessageSent.EncodeReflected)
}

func benchEncode(b *testing.B, encode func(events.MessageSent, string) ([]byte, error)) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(sent, ""); err != nil {
			b.Fatal(err)
		}
	}
}
