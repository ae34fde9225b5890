package frame

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is read in the short way is read the same in the long one, with the same verdict.
func FuzzPlainSendAsAnyFrame(f *testing.F) {
	for _, s := range []string{
		`{"type":"send","id":"1","room":"a","text":"x"}`, ` { "text" : "– ✓" , "room":"a", "id":"1","type":"send" } `,
		`{"type":"send","id":"1","room":"a b","text":" "}`, `{"type":"send","id":"1","room":"a","text":"x","text":"y"}`,
		`{"type":"send","id":"","room":"a","text":"x"}`, `{"type":"join","id":"1","room":"a"}`, `{}`, `{`, `{"type":"send",}`,
		`{"type":"send","id":"1","room":"a","text":"\u0041"}`, "{\"type\":\"send\",\"id\":\"1\",\"text\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := plainSend(b)
		if !ok {
			return
		}
		gotErr := got.check()
		want, wantErr := parse(b)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", b, diff)
		}
		if diff := cmp.Diff(wantErr, gotErr); diff != "" {
			t.Errorf("%q: error (-want +got):\n%s", b, diff)
		}
	})
}

// What is written in the short way is written the same in the long one.
func FuzzPlainFramesAsAnyFrame(f *testing.F) {
	f.Add("1", "ops", int64(44), int64(1767366245678), 0, "ann", "on it – ✓", true)
	f.Add("\"", "a b", int64(-1), int64(0), 3600, "<&>", "\\\n\x00\u2028\xff\x7f", false)
	f.Add("", "", int64(0), int64(1)<<60, -1, "", "", false)
	f.Fuzz(func(t *testing.T, id, room string, seq, ms int64, zone int, from, text string, duplicate bool) {
		at := time.UnixMilli(ms).In(time.FixedZone("", zone))
		for _, v := range []any{
			Accepted{Type: TypeAccepted, ID: id, Room: room, Seq: seq, SentAt: at, Duplicate: duplicate},
			Event{Seq: seq, Kind: "message", ID: id, From: from, SentAt: at, Text: text},
		} {
			if got, ok := encodePlain(v); ok {
				if diff := cmp.Diff(string(encode(v)), string(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		}
	})
}

func TestWhatGoesOutForEachMessageIsPlain(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1767366245678).UTC()
	for _, v := range []any{Accepted{Type: TypeAccepted, ID: "1", Room: "ops", Seq: 44, SentAt: at}, Event{Seq: 44, Kind: "message", ID: "1", From: "ann", SentAt: at, Text: "–"}} {
		if b, ok := encodePlain(v); !ok {
			t.Errorf("%+v: not plain: %s", v, b)
		}
	}
	if b, ok := encodePlain(Stored{}); ok {
		t.Errorf("taken for plain: %s", b)
	}
}

// The short way is taken for what clients send.
func TestAnOrdinarySendIsPlain(t *testing.T) {
	t.Parallel()
	want := Client{Type: TypeSend, ID: "1", Room: "ops", Text: "on it – ✓"}
	for _, s := range []string{
		`{"type":"send","id":"1","room":"ops","text":"on it – ✓"}`, "{ \"room\": \"ops\",\n\"type\": \"send\", \"text\": \"on it – ✓\", \"id\": \"1\" }",
	} {
		got, ok := plainSend([]byte(s))
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: plain: %v (-want +got):\n%s", s, ok, diff)
		}
	}
	for _, s := range []string{
		`{"type":"send","id":"1","room":"ops","text":"\n"}`, `{"type":"send","id":"1","room":"ops","text":7}`,
		`{"type":"send","id":"1","room":"ops","text":"x","id":"2"}`, `{"type":"send","id":"1","room":"ops","text":"x"}}`,
		`{"type":"hello","name":"ann"}`, `{"type":"send","id":"1","room":"ops","text":"x`, ``, `"send"`,
	} {
		if got, ok := plainSend([]byte(s)); ok {
			t.Errorf("%s: taken for plain: %+v", s, got)
		}
	}
}

func BenchmarkParseSend(b *testing.B) {
	raw := []byte(`{"type":"send","id":"0193b0b0-0000-7000-8000-000000000000","room":"ops","text":"0123456789012345678901234567890123456789012345678901234567890123456789"}`)
	for name, parse := range map[string]func([]byte) (Client, *Error){"plain": Parse, "any": parse} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
