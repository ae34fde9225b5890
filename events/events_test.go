package events_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/events"
)

var update = flag.Bool("update", false, "write the golden files anew; what they freeze is a contract")

var (
	at   = time.Date(2026, 1, 2, 15, 4, 5, 678_000_000, time.UTC)
	sent = events.MessageSent{
		Room: "ops", Seq: 44, Kind: events.KindMessage, ID: "0193b", From: "ann <a&b>", Text: "on it – <now> & \"here\"\n", SentAt: at,
	}
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), string(got)); diff != "" {
		t.Errorf("%s: the encoding changed (-want +got):\n%s", name, diff)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	second := sent
	second.Seq, second.ID = 45, "0193c"
	golden(t, "message_sent.json", must(sent.Encode("")))
	golden(t, "message_sent_traced.json", must(sent.Encode(traceparent)))
	golden(t, "message_sent_batch.json", events.EncodeBatch([][]byte{must(sent.Encode("")), must(second.Encode(""))}))
	golden(t, "messages_stored.json", must(events.MessagesStored{Rooms: map[string]int64{"ops": 44, "dev": 7}}.Encode("e1", at)))
	golden(t, "presence_changed.json", must(events.PresenceChanged{
		Instance: "a", Full: true, Rooms: map[string][]string{"ops": {"ann", "bob"}},
	}.Encode("e2", at)))
	golden(t, "presence_asked.json", must(events.PresenceChanged{Instance: "a", Ask: true}.Encode("e3", at)))
	golden(t, "presence_gone.json", must(events.PresenceChanged{Instance: "a", Gone: true}.Encode("e4", at)))
	golden(t, "typing_started.json", must(events.TypingStarted{Room: "ops", From: "ann", Instance: "a"}.Encode("e5", at)))
}

func TestMessageSentComesBackAsItWas(t *testing.T) {
	t.Parallel()
	raw, err := sent.Encode(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.DecodeMessageSent(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	env, err := events.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := env.TraceParent, traceparent; got != want {
		t.Errorf("traceparent: got %q, want %q", got, want)
	}
	if got, want := env.ID, "ops/44"; got != want {
		t.Errorf("id: got %q, want %q", got, want)
	}
}

// A newer writer may add fields, also to an envelope.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	raw := `{"specversion":"1.0","id":"ops/1","type":"gochat.MessageSent.v1","source":"/x","new":[1],"time":"2026-01-02T15:04:05Z",
		"data":{"room":"ops","seq":1,"kind":"edit","id":"i","from":"ann","text":"","sent_at":"2026-01-02T15:04:05Z","more":{}}}`
	m, err := events.DecodeMessageSent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Kind, "edit"; got != want {
		t.Errorf("kind: got %q, want %q", got, want)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	const good = `{"specversion":"1.0","id":"ops/1","type":"gochat.MessageSent.v1","source":"/x","time":"2026-01-02T15:04:05Z",` +
		`"data":{"room":"ops","seq":1,"kind":"message","id":"i","from":"ann","text":"x","sent_at":"2026-01-02T15:04:05Z"}}`
	if _, err := events.DecodeMessageSent([]byte(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	_, data, _ := strings.Cut(good, `"2026-01-02T15:04:05Z"`) // the envelope's time comes first
	for _, change := range [][2]string{
		{good, ""}, {good, "null"}, {good, "[]"}, {good, `"x"`}, {good, good + "x"}, {good, good[:50]},
		{`"1.0"`, `"0.3"`}, {`"1.0"`, `1`}, {`"id":"ops/1"`, `"id":""`}, {`MessageSent.v1`, `MessageSent.v2`},
		{`"/x"`, `""`}, {`"seq":1`, `"seq":0`}, {`"seq":1`, `"seq":-1`}, {`"seq":1`, `"seq":1.5`}, {`"seq":1`, `"seq":"1"`},
		{`"room":"ops"`, `"room":""`}, {`"kind":"message"`, `"kind":""`}, {`"id":"i"`, `"id":""`}, {`"ann"`, `""`},
		{`"sent_at":"2026-01-02T15:04:05Z"`, `"sent_at":"yesterday"`}, {`,"sent_at":"2026-01-02T15:04:05Z"`, ``},
		{data, "}"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%q changes nothing", change[0])
		}
		_, err := events.DecodeMessageSent([]byte(bad))
		if !errors.Is(err, events.ErrMalformed) || !events.IsPermanent(err) {
			t.Errorf("%s: got %v, want a permanent %v", bad, err, events.ErrMalformed)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		contentType, body string
		want              []string
		bad               bool
	}{
		{events.ContentType, `{"a":1}`, []string{`{"a":1}`}, false},
		{events.ContentType + "; charset=utf-8", `{"a":1}`, []string{`{"a":1}`}, false},
		{events.ContentTypeBatch, ` [{"a":1}, {"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, false},
		{events.ContentTypeBatch + "; charset=utf-8", `[{"a":1}]`, []string{`{"a":1}`}, false},
		{events.ContentTypeBatch, `[]`, nil, false},
		{events.ContentTypeBatch, `{"a":1}`, nil, true},
		{events.ContentTypeBatch, `[{"a":1}`, nil, true},
		{"", ` [{"a":1}]`, []string{`{"a":1}`}, false},
		{"", `{"a":1}`, []string{`{"a":1}`}, false},
		{"", ``, []string{``}, false},
	} {
		parts, err := events.Split(tt.contentType, []byte(tt.body))
		if tt.bad != (err != nil) || (err != nil && !events.IsPermanent(err)) {
			t.Errorf("%s %s: got %v", tt.contentType, tt.body, err)
			continue
		}
		var got []string
		for _, p := range parts {
			got = append(got, string(p))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.contentType, tt.body, diff)
		}
	}
}

// The parts of an encoding around its seq make the same bytes as the encoding itself, whatever the fields hold.
func TestEncodeAround(t *testing.T) {
	t.Parallel()
	mark := strconv.Itoa(math.MaxInt64)
	for _, s := range []string{"ops", mark, `/` + mark + `","type":"`, `"seq":` + mark + `,`, "a\\\"b<&>\u2028é"} {
		m := events.MessageSent{Room: s, Seq: 4711, Kind: events.KindMessage, ID: s, From: s, Text: s, SentAt: time.UnixMilli(1767366245678).UTC()}
		want, err := m.Encode(traceparent)
		if err != nil {
			t.Fatal(err)
		}
		before, between, after, err := m.EncodeAround(traceparent)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		got := string(before) + "4711" + string(between) + "4711" + string(after)
		if got != string(want) {
			t.Errorf("%q:\n got %s\nwant %s", s, got, want)
		}
	}
}

// The shard of a room is a contract between replicas of all versions.
func TestShard(t *testing.T) {
	t.Parallel()
	used := make(map[int]int)
	for i := range 1600 {
		s := events.Shard(fmt.Sprint("room-", i))
		if s < 0 || s >= events.Shards {
			t.Fatalf("shard %d", s)
		}
		used[s]++
	}
	if got, want := len(used), events.Shards; got != want {
		t.Errorf("shards used: got %d, want %d", got, want)
	}
	for room, want := range map[string]int{"": 5, "ops": 3, "general": 3, "a": 4, "incident-42": 4} {
		if got := events.Shard(room); got != want {
			t.Errorf("shard of %q: got %d, want %d", room, got, want)
		}
	}
}

func TestTopologyNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{events.Topology{}.EventsExchange(), "chat.events.v1"},
		{events.Topology{}.MessageSentQueue(), "persister.message-sent.v1"},
		{events.Topology{}.DeadLetterExchange(), "chat.dlx.v1"},
		{events.Topology{}.DeadLetterQueue(), "persister.message-sent.v1.dead"},
		{events.Topology{}.FanoutExchange(), "chat.fanout.v1"},
		{events.Topology{}.FanoutQueue("i1"), "chatroom.fanout.i1"},
		{events.Topology{Prefix: "t1."}.DeadLetterQueue(), "t1.persister.message-sent.v1.dead"},
		{events.MessageSentKey(3), "message.sent.3"},
		{events.MessageSentBinding, "message.sent.#"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func FuzzSplitAndDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("golden files: %v, %v", files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("", raw)
		f.Add(events.ContentType, raw)
		f.Add(events.ContentTypeBatch, raw)
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		parts, err := events.Split(contentType, body)
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) {
				t.Fatalf("split: got %v, want %v", err, events.ErrMalformed)
			}
			return
		}
		for _, p := range parts {
			m, err := events.DecodeMessageSent(p)
			if err != nil {
				if !errors.Is(err, events.ErrMalformed) {
					t.Fatalf("decode: got %v, want %v", err, events.ErrMalformed)
				}
				continue
			}
			raw, err := m.Encode("")
			if err != nil {
				t.Fatalf("encode what was decoded: %v", err)
			}
			again, err := events.DecodeMessageSent(raw)
			if err != nil {
				t.Fatalf("decode what was encoded: %v", err)
			}
			want, _ := json.Marshal(m)
			got, _ := json.Marshal(again)
			if string(got) != string(want) {
				t.Fatalf("round trip: got %s, want %s", got, want)
			}
		}
	})
}

func TestDeadLetterEvents(t *testing.T) {
	t.Parallel()
	good, err := events.MessageSent{Room: "ops", Seq: 1, Kind: "message", ID: "a", From: "ann", SentAt: time.UnixMilli(1).UTC()}.Encode("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		contentType, body string
		events            int
		malformed         bool
	}{
		{events.ContentType, string(good), 1, false},
		{events.ContentTypeBatch, "[" + string(good) + "," + string(good) + "]", 2, false},
		{events.ContentTypeBatch, "[" + string(good) + `,{"specversion":"1.0"},7]`, 1, true},
		{events.ContentTypeBatch, "[]", 0, true},
		{events.ContentTypeBatch, "{}", 0, true},
		{events.ContentType, "no JSON", 0, true},
		{"", string(good), 1, false},
	} {
		evs, err := events.DeadLetter{ContentType: tt.contentType, Body: []byte(tt.body)}.Events()
		if len(evs) != tt.events || errors.Is(err, events.ErrMalformed) != tt.malformed || (err != nil) != tt.malformed {
			t.Errorf("%s: got %d events, %v", tt.body, len(evs), err)
		}
	}
}
