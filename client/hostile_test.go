package client

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// hostile are frames that no honest server sends, and some that one may send later.
var hostile = []string{
	``, `null`, `7`, `"x"`, `[]`, `{}`, `{`, `{"type":7}`, `{"type":null}`, `{"type":"dance","seq":"x"}`, "{\"type\":\"\xff\"}",
	`{"type":"welcome","heartbeat_ms":-1,"limits":{"rate_per_s":-5,"burst":-1}}`, `{"type":"welcome","heartbeat_ms":9223372036854775807}`,
	`{"type":"welcome","heartbeat_ms":1e400}`, `{"type":"joined"}`, `{"type":"joined","id":"","room":"ops","head":-5}`,
	`{"type":"joined","id":"J","room":"ops","head":-9223372036854775808,"stored":-1,"members":null}`,
	`{"type":"joined","id":"J","room":"ops","head":9223372036854775807,"members":[1]}`,
	`{"type":"joined","id":"J","room":"ops","head":9223372036854775807}`,
	`{"type":"events"}`, `{"type":"events","room":"ops","events":null}`, `{"type":"events","room":"ops","events":[null,null]}`,
	`{"type":"events","room":"ops","events":[{"seq":-9223372036854775808},{"seq":9223372036854775807}]}`,
	`{"type":"events","room":"ops","events":[{"seq":9223372036854775758},{"seq":9223372036854775807},{"seq":1}]}`,
	`{"type":"events","room":"ops","events":[{"seq":"1"}]}`, `{"type":"events","room":"ops","id":"H","events":[]}`,
	`{"type":"events","room":"nowhere","events":[{"seq":1}]}`, `{"type":"events","room":"ops","events":[{"seq":1,"sent_at":"never"}]}`,
	`{"type":"accepted"}`, `{"type":"accepted","id":"s1","room":"dev","seq":1}`, `{"type":"accepted","id":"s1","room":"ops","seq":-1}`,
	`{"type":"accepted","id":"s1","room":"ops","seq":3}`, `{"type":"stored","room":"ops","seq":-1}`, `{"type":"heads"}`,
	`{"type":"heads","rooms":{"ops":9223372036854775807,"nowhere":1}}`, `{"type":"heads","rooms":{"ops":-1}}`, `{"type":"heads","rooms":[]}`,
	`{"type":"presence","room":"ops","count":-1}`, `{"type":"typing"}`, `{"type":"error"}`, `{"type":"error","id":"s2","retry":true,"retry_after_ms":9223372036854775807}`,
	`{"type":"error","id":"s2","retry":true,"retry_after_ms":-1}`, `{"type":"error","id":"J","retry":true,"code":"rate_limited"}`,
	`{"type":"error","id":"J","retry":false}`, `{"type":"error","id":7}`, `{"type":"bye"}`, `{"type":"bye","code":"x"}`,
	`{"type":"bye","code":4000,"retry_ms":[9223372036854775807,-1]}`, `{"type":"bye","retry_ms":[1]}`, `{"type":"bye","code":4199}`,
	strings.Repeat(`[`, 2000), `{"type":"joined","type":"events","type":7}`,
}

// play gives frames to a connection in the middle of a join, a send and a history request, then looks whether the
// client's state is still sane. J stands for the id of the join, H for that of the request.
func play(tb testing.TB, frames ...string) {
	tb.Helper()
	c, err := New(Options{
		Server: "ws://x", Name: "ann",
		OnRawEvent: func(string, json.RawMessage) {}, OnEvent: func(string, frame.Event) {},
		OnError: func(*frame.Error) {}, OnState: func(State) {},
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Join("ops", nil); err != nil {
		tb.Fatal(err)
	}
	for _, id := range []string{"s1", "s2", "s3"} {
		if _, err := c.Submit(context.Background(), "ops", "text", id); err != nil {
			tb.Fatal(err)
		}
	}
	// The writer's part is played here: handle must not start one on a connection that is none.
	k := &conn{c: c, welcomed: time.Now()}
	c.connected = true
	var joinID, historyID string
	c.requests["H"] = &request{frame: frame.Client{Type: frame.TypeHistory, ID: "H", Room: "ops"}, done: make(chan struct{})}
	historyID = "H"
	now := time.Now()
	drain := func() {
		for range 100 {
			b, _, err := c.next(now)
			if b == nil || err != nil {
				return
			}
			var f frame.Client
			if err := json.Unmarshal(b, &f); err != nil {
				tb.Fatal(err)
			}
			if f.Type == frame.TypeJoin {
				joinID = f.ID
			}
		}
		tb.Fatal("the writer finds no end")
	}
	for _, f := range frames {
		drain()
		f = strings.NewReplacer(`"id":"J"`, `"id":"`+joinID+`"`, `"id":"H"`, `"id":"`+historyID+`"`).Replace(f)
		_ = k.handle([]byte(f))
		now = now.Add(time.Second)
	}
	drain()
	if k.retryMS != nil {
		if d := inside(*k.retryMS); d < 0 || d > retryHintMax {
			tb.Errorf("retry in %v", d)
		}
	}
	c.mu.Lock()
	n, places := 0, len(c.sends)
	for _, s := range c.sends {
		if s.inFlight {
			n++
		}
	}
	if n != c.inFlight || places != len(c.places) {
		tb.Errorf("got %d in flight and %d places, want %d and %d", c.inFlight, len(c.places), n, places)
	}
	c.mu.Unlock()
	c.disconnect()
	c.end(nil)
}

func TestHostileFramesDoNoHarm(t *testing.T) {
	t.Parallel()
	for _, a := range hostile {
		play(t, a)
		for _, b := range hostile {
			play(t, a, b, `{"type":"joined","id":"J","room":"ops","head":2}`, `{"type":"events","room":"ops","events":[{"seq":1}]}`, b)
		}
	}
}

func FuzzServerFrames(f *testing.F) {
	for _, a := range hostile {
		f.Add([]byte(a), []byte(`{"type":"joined","id":"J","room":"ops","head":2}`))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) { play(t, string(a), string(b), string(a)) })
}

func TestBackoffIsFullJitter(t *testing.T) {
	t.Parallel()
	for failed, limit := range []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second,
	} {
		high := time.Duration(0)
		for range 1000 {
			d := fullJitter(failed)
			if d < 0 || d > limit {
				t.Fatalf("after %d: got %v, want at most %v", failed, d, limit)
			}
			high = max(high, d)
		}
		if high < limit/2 {
			t.Errorf("after %d: never above %v of %v", failed, high, limit)
		}
	}
	if d := fullJitter(1 << 40); d > backoffMax {
		t.Errorf("got %v", d)
	}
}

func TestBucketPacesTheSends(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := newBucket(20, 3, now)
	for range 3 {
		if _, ok := b.take(now); !ok {
			t.Fatal("the burst is 3")
		}
	}
	due, ok := b.take(now)
	if wait := due.Sub(now); ok || wait < 50*time.Millisecond || wait > 52*time.Millisecond {
		t.Errorf("got a wait of %v, want 50ms", wait)
	}
	if _, ok := b.take(due); !ok {
		t.Error("no token when one was due")
	}
	none := newBucket(0, 0, now)
	if _, ok := none.take(now); !ok {
		t.Error("rate 0 is no limit")
	}
}
