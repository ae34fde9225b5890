package bustest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
)

func permanentAlone(t *testing.T, e Env) {
	bad := errors.New("text too long")
	r := newRecorder(func(m events.MessageSent, _ int) error {
		if m.Seq == 3 {
			return fmt.Errorf("insert: %w", events.Permanent(bad))
		}
		return nil
	})
	Consume(t, e.Transport, fast(), r.handle)
	var bodies [][]byte
	for seq := int64(1); seq <= 5; seq++ {
		bodies = append(bodies, MessageSent(t, room, seq))
	}
	ready(t, e)
	if err := Await(t, "publish", publish(e.Transport, events.ContentTypeBatch, events.EncodeBatch(bodies))); err != nil {
		t.Fatalf("publish: %v", err)
	}
	var dead []DeadLetter
	rabbit.Eventually(t, "dead letter", func() bool { dead = e.Dead(t); return len(dead) > 0 })
	if len(dead) != 1 {
		t.Fatalf("dead letters: got %d, want 1", len(dead))
	}
	for seq := int64(1); seq <= 5; seq++ {
		if got, want := r.count(seq), 1; got != want {
			t.Errorf("seq %d: handled %d times, want %d", seq, got, want)
		}
	}
	d := dead[0]
	if got, want := string(d.Body), string(bodies[2]); got != want {
		t.Errorf("body: got %s, want %s", got, want)
	}
	if got, want := d.ID, events.EventID(room, 3); got != want {
		t.Errorf("id: got %s, want %s", got, want)
	}
	if _, err := time.Parse(time.RFC3339Nano, d.Headers[bus.HeaderFirstSeen]); err != nil {
		t.Errorf("first seen: %v", err)
	}
	delete(d.Headers, bus.HeaderFirstSeen)
	for name, want := range map[string]string{
		bus.HeaderReason: "insert: text too long", bus.HeaderAttempts: "1", bus.HeaderMessageID: "m-1",
		bus.HeaderTopic: events.MessageSentKey(3),
	} {
		if got := d.Headers[name]; got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
}

func unreadable(t *testing.T, e Env) {
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	for _, ct := range []string{events.ContentType, events.ContentTypeBatch} {
		if err := Await(t, "publish", publish(e.Transport, ct, []byte("{no json"))); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	if err := Await(t, "publish", publish(e.Transport, events.ContentType, MessageSent(t, room, 1))); err != nil {
		t.Fatalf("publish: %v", err)
	}
	r.await(t, 1, 1)
	rabbit.Eventually(t, "two dead letters", func() bool { return len(e.Dead(t)) == 2 })
	for _, d := range e.Dead(t) {
		if got, want := string(d.Body), "{no json"; got != want {
			t.Errorf("body: got %q, want %q", got, want)
		}
	}
}

// What AMQP has no room for, in a short string or in one frame, does not keep a poison message in its queue.
func oversized(t *testing.T, e Env) {
	r := newRecorder(nil)
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	event := func(spec, id, typ, sentAt string) []byte {
		return fmt.Appendf(nil, `{"specversion":%q,"id":%q,"type":%q,"source":"s","data":{"room":"r","seq":1,"kind":"message","id":"1","from":"a","sent_at":%q}}`, spec, id, typ, sentAt)
	}
	long := func(n int) string { return strings.Repeat("é", n/2) }
	bodies := [][]byte{
		event("1.0", "r/1", long(300), "2026-01-01T00:00:00Z"),
		event("1.0", long(300), events.TypeMessageSent, "never"),
		event(long(200_000), "r/1", events.TypeMessageSent, "2026-01-01T00:00:00Z"),
		event("1.0", "r/1", events.TypeMessageSent, long(200_000)),
	}
	for _, body := range append(bodies, MessageSent(t, room, 1)) {
		if err := Await(t, "publish", publish(e.Transport, events.ContentType, body)); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	r.await(t, 1, 1)
	var dead []DeadLetter
	rabbit.Eventually(t, "a dead letter of each", func() bool { dead = e.Dead(t); return len(dead) == len(bodies) })
	for _, d := range dead {
		if !slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Equal(b, d.Body) }) {
			t.Errorf("body: got %.100s…", d.Body)
		}
		if reason := d.Headers[bus.HeaderReason]; reason == "" || len(reason) > 4096 || !utf8.ValidString(reason) {
			t.Errorf("reason: got %d bytes, %.100s…", len(reason), reason)
		}
		if d.ID == "" || len(d.ID) > 255 || !utf8.ValidString(d.ID) {
			t.Errorf("id: got %d bytes", len(d.ID))
		}
	}
}

func outage(t *testing.T, e Env) {
	r := newRecorder(func(_ events.MessageSent, times int) error {
		if times < 12 { // through several rounds of retries and nacks
			return errOutage
		}
		return nil
	})
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	done := publish(e.Transport, events.ContentType, MessageSent(t, room, 1))
	r.await(t, 1, 1)
	if err := Await(t, "publish", done); err != nil {
		t.Errorf("publish: %v", err)
	}
	if dead := e.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: got %d, want 0", len(dead))
	}
}

func panics(t *testing.T, e Env) {
	r := newRecorder(func(_ events.MessageSent, times int) error {
		if times < 5 {
			panic("handler")
		}
		return nil
	})
	Consume(t, e.Transport, fast(), r.handle)
	ready(t, e)
	done := publish(e.Transport, events.ContentType, MessageSent(t, room, 1))
	r.await(t, 1, 1)
	if err := Await(t, "publish", done); err != nil {
		t.Errorf("publish: %v", err)
	}
	if dead := e.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: got %d, want 0", len(dead))
	}
}
