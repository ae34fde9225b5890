package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// eachMode runs a story against one process, and split over PostgreSQL and RabbitMQ.
func eachMode(t *testing.T, story func(t *testing.T, addr string), args ...string) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		story(t, embedded(t, args...).addr)
	})
	t.Run("split", func(t *testing.T) {
		t.Parallel()
		s := newSplit(t, brokerURL())
		s.persister()
		story(t, s.chatroom(args...).addr)
	})
}

func TestSession(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		ann := hello(t, addr, "ann")
		if j := ann.join("ops", -1); j.Head != 0 || j.Stored != 0 || j.Reset || len(j.Members) != 0 || j.ID != "join-ops" {
			t.Errorf("joined: %+v", j)
		}
		if a := ann.send("ops", "s1", "disk full"); a.Seq != 1 || a.Duplicate || a.SentAt.IsZero() || a.Room != "ops" {
			t.Errorf("accepted: %+v", a)
		}
		got := ann.events("ops", 0, 1)
		if e := got[0]; e.ID != "s1" || e.From != "ann" || e.Text != "disk full" || e.Kind != "message" {
			t.Errorf("own event: %+v", e)
		}
		ann.stored("ops", 1)

		bob := hello(t, addr, "bob")
		if j := bob.join("ops", 0); j.Head != 1 || j.Stored != 1 || len(j.Members) != 1 || j.Members[0] != "ann" {
			t.Errorf("joined: %+v", j)
		}
		bob.events("ops", 0, 1)
		ann.next("bob's coming", func(f frame.Server) bool {
			return f.Type == "presence" && slices.Contains(f.Joined, "bob")
		})
		bob.say(`{"type":"typing","room":"ops"}`)
		if f := ann.wait("typing"); f.From != "bob" || f.Room != "ops" {
			t.Errorf("typing: %+v", f)
		}
		bob.send("ops", "s1", "on it") // ids are a sender's own
		ann.events("ops", 1, 2)
		bob.say(`{"type":"leave","room":"ops"}`)
		ann.next("bob's leave", func(f frame.Server) bool {
			return f.Type == "presence" && slices.Contains(f.Left, "bob")
		})
		bob.say(`{"type":"send","id":"late","room":"ops","text":"x"}`)
		bob.refused(frame.NotJoined, "late")
	})
}

func TestARetryNeverMakesASecondMessage(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		ann := hello(t, addr, "ann")
		ann.join("a", -1)
		ann.join("b", -1)
		first := ann.send("a", "k", "text")
		ann.send("a", "l", "other")
		again := ann.send("a", "k", "text")
		if !again.Duplicate || again.Seq != first.Seq || !again.SentAt.Equal(first.SentAt) {
			t.Errorf("again: got %+v, want the first one, %+v", again, first)
		}
		ann.say(`{"type":"send","id":"k","room":"a","text":"another"}`)
		ann.refused(frame.IDConflict, "k")
		ann.say(`{"type":"send","id":"k","room":"b","text":"text"}`)
		ann.refused(frame.IDConflict, "k")
		if page := getEvents(t, addr, "a", ""); page.Head != 2 {
			t.Errorf("head: got %d, want 2", page.Head)
		}
	})
}

func TestJoinFromWhereOneWas(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		ann := hello(t, addr, "ann")
		epoch := ann.join("r", -1).Epoch
		const n = 230
		for i := range n {
			ann.send("r", fmt.Sprint(i), fmt.Sprintf("text %d", i))
		}
		ann.events("r", 0, n)
		bob := hello(t, addr, "bob")
		if j := bob.join("r", -1); j.Head != n || j.Reset {
			t.Errorf("joined: %+v", j)
		}
		bob.events("r", n-frame.DefaultTail, n)
		for _, after := range []int64{0, 1, 100, n - 1, n} {
			if j := bob.join("r", after); j.Reset || j.Head != n {
				t.Errorf("join after %d: %+v", after, j)
			}
			bob.events("r", after, n)
		}
		bob.join("r", n+1)
		bob.say(`{"type":"join","id":"x","room":"r","after":%d}`, n+5)
		if j := bob.answer("x"); !j.Reset || j.Head != n {
			t.Errorf("after above the head: %+v", j)
		}
		bob.say(`{"type":"join","id":"y","room":"r","after":10,"epoch":"another life"}`)
		if j := bob.answer("y"); !j.Reset || j.Epoch != epoch {
			t.Errorf("another epoch: %+v", j)
		}
		// Each reset was followed by the last 50.
		bob.held = nil
		bob.send("r", "last", "x")
		bob.next("the new event", func(f frame.Server) bool {
			return f.Type == "events" && f.Events[len(f.Events)-1].Seq == n+1
		})
	}, "--send-rate", "0", "--recent-events", "64")
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		ann := hello(t, addr, "ann")
		ann.join("r", -1)
		for i := range 25 {
			ann.send("r", fmt.Sprint(i), fmt.Sprintf("text %d", i))
		}
		for _, tc := range []struct {
			ask         string
			first, last int64
			complete    bool
		}{
			{`"after":0,"limit":10`, 1, 10, false},
			{`"after":10,"limit":15`, 11, 25, true},
			{`"after":24,"limit":200`, 25, 25, true},
			{`"after":25,"limit":5`, 0, 0, true},
			{`"after":9000,"limit":5`, 0, 0, true},
			{`"before":26,"limit":5`, 21, 25, false},
			{`"before":6,"limit":5`, 1, 5, true},
			{`"before":1,"limit":5`, 0, 0, true},
			{`"before":9000,"limit":200`, 1, 25, true},
		} {
			id := strings.Map(func(r rune) rune {
				if r == '"' {
					return -1
				}
				return r
			}, tc.ask)
			ann.say(`{"type":"history","id":%q,"room":"r",%s}`, id, tc.ask)
			f := ann.answer(id)
			var first, last int64
			if n := len(f.Events); n > 0 {
				first, last = f.Events[0].Seq, f.Events[n-1].Seq
				if last-first != int64(n-1) {
					t.Errorf("%s: %d events from %d to %d", tc.ask, n, first, last)
				}
			}
			if f.Type != "events" || first != tc.first || last != tc.last || f.Complete == nil || *f.Complete != tc.complete {
				t.Errorf("%s: got %d to %d, %+v; want %d to %d, complete %v", tc.ask, first, last, f.Complete, tc.first, tc.last, tc.complete)
			}
		}
		ann.say(`{"type":"history","id":"nobody","room":"nobody","after":0,"limit":5}`)
		if f := ann.answer("nobody"); len(f.Events) != 0 || f.Complete == nil || !*f.Complete {
			t.Errorf("room that nobody made: %+v", f)
		}
	})
}

func TestBadInputHarmsNobody(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		witness := hello(t, addr, "witness")
		witness.join("r", -1)
		w := hello(t, addr, "mallory")
		w.join("r", -1)
		for in, want := range map[string]frame.Code{
			`{`:                                  frame.BadRequest,
			`[]`:                                 frame.BadRequest,
			`{"type":"hello","name":"again"}`:    frame.BadRequest,
			`{"type":"dance"}`:                   frame.UnknownType,
			`{"type":"read","room":"r","seq":1}`: frame.UnknownType,
			`{"type":"join","room":"no good"}`:   frame.BadRequest,
			`{"type":"send","id":"1","room":"elsewhere","text":"x"}`:                           frame.NotJoined,
			`{"type":"leave","room":"elsewhere"}`:                                              frame.NotJoined,
			`{"type":"send","id":"1","room":"r","text":"` + strings.Repeat("x", 4097) + `"}`:   frame.TooLarge,
			`{"type":"send","id":"1","room":"r","text":"` + strings.Repeat("x", 70_000) + `"}`: frame.TooLarge,
			"{\"type\":\"send\",\"id\":\"1\",\"room\":\"r\",\"text\":\"\xc3\x28\"}":            frame.BadRequest,
			`{"type":"history","id":"1","room":"r","after":-1,"limit":5}`:                      frame.BadRequest,
			`{"type":"history","id":"1","room":"r","after":1,"limit":1000000}`:                 frame.BadRequest,
			`{"type":"join","id":"1","room":"r","after":99999999999999999999999}`:              frame.BadRequest,
		} {
			w.say("%s", in)
			f := w.wait("error")
			if text(f.Code) != string(want) || f.Retry {
				t.Errorf("%.60s: got %s %q, want %s", in, text(f.Code), f.Message, want)
			}
		}
		if err := w.conn.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"join","room":"r"}`)); err != nil {
			t.Fatal(err)
		}
		w.refused(frame.BadRequest, "")
		// The text of 4,096 bytes is still good, and so are both connections.
		w.send("r", "big", strings.Repeat("é", 2048))
		witness.events("r", 0, 1)

		for in, code := range map[string]int{
			`{"type":"join","room":"r"}`: frame.CloseBadHello,
			`nonsense`:                   frame.CloseBadHello,
			`{"type":"hello"}`:           frame.CloseBadHello,
			`{"type":"hello","name":""}`: frame.CloseBadHello,
			`{"type":"hello","name":7}`:  frame.CloseBadHello,
			`{"type":"hello","name":"` + strings.Repeat("n", 51) + `"}`: frame.CloseBadHello,
			`{"type":"hello","token":"x"}`:                              frame.CloseBadHello,
			strings.Repeat("x", 70_000):                                 frame.CloseBadHello,
		} {
			c := connect(t, addr)
			c.say("%s", in)
			c.closed(code)
		}
		silent := connect(t, addr)
		silent.closed(frame.CloseBadHello)
		witness.send("r", "still", "here")
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		w := connect(t, addr)
		w.say(`{"type":"hello","name":"ann"}`)
		if l := w.wait("welcome").Limits; l.RatePerS != 0.01 || l.Burst != 3 || l.TextBytes != 4096 || l.Rooms != 100 {
			t.Errorf("limits: %+v", l)
		}
		w.join("r", -1)
		for i := range 3 {
			w.send("r", fmt.Sprint(i), "x")
		}
		w.say(`{"type":"send","id":"over","room":"r","text":"x"}`)
		if f := w.refused(frame.RateLimited, "over"); f.RetryAfterMS < 1 || f.RetryAfterMS > 100_000 {
			t.Errorf("retry_after_ms: %d", f.RetryAfterMS)
		}
		resp := post(t, addr, "r", "over", `{"name":"ann","text":"x"}`)
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
			t.Errorf("over HTTP: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
	}, "--send-rate", "0.01", "--send-burst", "3")
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	ann := hello(t, embedded(t, "--heartbeat", "3s").addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "x")
	ann.next("the head", func(f frame.Server) bool { return f.Type == "heads" && f.Rooms["r"] == 1 })
	for range 3 { // a client that reads answers pings, and stays
		ann.wait("heads")
	}
	ann.send("r", "2", "still here")

	// A client that answers no ping is asked to come again.
	mute := hello(t, embedded(t, "--heartbeat", "200ms").addr, "mute")
	mute.conn.SetPingHandler(func(string) error { return nil })
	mute.closed(frame.CloseNoPong)
}

func TestShutdownSaysBye(t *testing.T) {
	t.Parallel()
	p := embedded(t)
	ann := hello(t, p.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "x")
	done := make(chan int, 1)
	go func() { done <- p.terminate() }()
	if bye := ann.closed(frame.CloseShutdown); bye.RetryMS == nil {
		t.Error("bye without retry_ms")
	}
	if code := <-done; code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}
