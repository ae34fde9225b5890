package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// seqs collects what OnEvent tells.
func seqs() (chan int64, func(string, frame.Event)) {
	ch := make(chan int64, 4096)
	return ch, func(_ string, e frame.Event) { ch <- e.Seq }
}

func wantSeqs(tb testing.TB, ch <-chan int64, from, to int64) {
	tb.Helper()
	for want := from; want <= to; want++ {
		if got := receive(tb, ch); got != want {
			tb.Fatalf("event: got #%d, want #%d", got, want)
		}
	}
}

func TestEventsAreHandedOnInOrderOverGapsDuplicatesAndReconnects(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ch, onEvent := seqs()
	c, _ := start(t, s, client.Options{OnEvent: onEvent})
	mustJoin(t, c, "ops", nil)

	p := s.accept(time.Minute)
	j := p.expect(frame.TypeJoin)
	if j.Room != "ops" || j.After != nil || j.ID == "" {
		t.Fatalf("first join: got %+v", j)
	}
	p.joined(j, 60)
	p.events(11, 12, 13)
	p.events(12, 13, 14) // duplicates
	p.events(17, 15)     // a hole, and a late one that fills nothing
	wantSeqs(t, ch, 11, 14)
	j = p.expect(frame.TypeJoin)
	if j.After == nil || *j.After != 14 || j.Epoch != "e1" {
		t.Fatalf("join after the hole: got %+v, want after 14 of e1", j)
	}
	p.events(18) // of the stream before
	p.joined(j, 60)
	p.events(15, 16, 17)
	wantSeqs(t, ch, 15, 17)
	p.cut()

	p = s.accept(time.Minute)
	j = p.expect(frame.TypeJoin)
	if j.After == nil || *j.After != 17 {
		t.Fatalf("join after the reconnect: got %+v, want after 17", j)
	}
	p.joined(j, 60)
	p.events(16, 17, 18)
	wantSeqs(t, ch, 18, 18)
	p.sendf(`{"type":"heads","rooms":{"ops":18,"other":7}}`)
	p.sendf(`{"type":"heads","rooms":{"ops":19}}`) // in the middle of a replay: one heartbeat of grace
	p.sendf(`{"type":"heads","rooms":{"ops":19}}`)
	j = p.expect(frame.TypeJoin)
	if *j.After != 18 {
		t.Fatalf("join after heads: got after %d, want 18", *j.After)
	}
	p.joined(j, 19)
	p.events(19)
	wantSeqs(t, ch, 19, 19)
}

func TestHoleAtTheStartIsSeen(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ch, onEvent := seqs()
	c, _ := start(t, s, client.Options{OnEvent: onEvent})
	mustJoin(t, c, "ops", nil)
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 60)
	p.events(13)
	j := p.expect(frame.TypeJoin)
	if j.After == nil || *j.After != 10 {
		t.Fatalf("got %+v, want after 10", j)
	}
	p.joined(j, 60)
	p.events(11, 12, 13)
	wantSeqs(t, ch, 11, 13)
}

func TestServerThatAlwaysLeavesAHoleIsNotAskedInACircle(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	states := make(chan client.State, 64)
	failed := make(chan int, 64)
	c, _ := start(t, s, client.Options{
		OnState: func(st client.State) { states <- st },
		Backoff: func(n int) time.Duration { failed <- n; return 0 },
	})
	mustJoin(t, c, "ops", nil)
	for n := range 3 {
		p := s.accept(time.Minute)
		joins := 0
		for f := range p.frames {
			if f.Type != frame.TypeJoin {
				t.Errorf("got %s, want a join", f.Type)
				break
			}
			if joins++; joins > 5 {
				t.Fatal("the client joins in a circle")
			}
			p.joined(f, 60)
			p.events(1000)
		}
		if got := receive(t, failed); got != n {
			t.Errorf("failed connections: got %d, want %d: the backoff must grow", got, n)
		}
		if st := receive(t, states); !st.Connected {
			t.Errorf("state: got %+v, want connected", st)
		}
		if st := receive(t, states); st.Connected || st.Err == nil {
			t.Errorf("state: got %+v, want the reason", st)
		}
	}
}

func TestResetAndNewEpochAreTold(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ch, onEvent := seqs()
	told := make(chan frame.Joined, 8)
	c, _ := start(t, s, client.Options{OnEvent: onEvent, OnJoined: func(j frame.Joined) { told <- j }})
	after := int64(500)
	mustJoin(t, c, "ops", &after)

	p := s.accept(time.Minute)
	j := p.expect(frame.TypeJoin)
	p.sendf(`{"type":"joined","id":%q,"room":"ops","epoch":"e1","head":3,"stored":3,"reset":true,"members":[]}`, j.ID)
	p.events(1, 2, 3)
	if got := receive(t, told); !got.Reset || got.Head != 3 {
		t.Errorf("joined: got %+v, want a reset", got)
	}
	wantSeqs(t, ch, 1, 3)
	p.cut()

	p = s.accept(time.Minute)
	j = p.expect(frame.TypeJoin)
	p.sendf(`{"type":"joined","id":%q,"room":"ops","epoch":"e2","head":2,"stored":2,"members":[]}`, j.ID)
	p.events(1, 2)
	if got := receive(t, told); !got.Reset || got.Epoch != "e2" {
		t.Errorf("joined: got %+v, want a reset by epoch", got)
	}
	wantSeqs(t, ch, 1, 2)
	if seq, epoch, ok := c.Last("ops"); seq != 2 || epoch != "e2" || !ok {
		t.Errorf("Last: got %d %s %v", seq, epoch, ok)
	}
}

func TestByeIsRespected(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	states := make(chan client.State, 8)
	start(t, s, client.Options{
		OnState: func(st client.State) { states <- st },
		Backoff: func(int) time.Duration { return time.Hour },
	})
	p := s.accept(time.Minute)
	receive(t, states)
	p.sendf(`{"type":"bye","code":4000,"message":"shutdown","retry_ms":[20,40]}`)
	st := receive(t, states)
	if st.Connected || st.RetryIn < 20*time.Millisecond || st.RetryIn > 40*time.Millisecond {
		t.Errorf("got %+v, want a try within 20 to 40 ms", st)
	}
	p = s.accept(time.Minute)
	receive(t, states)
	p.sendf(`{"type":"bye","code":4003,"message":"x","retry_ms":[5,-9223372036854775808]}`)
	if st := receive(t, states); st.RetryIn != 5*time.Millisecond {
		t.Errorf("mad retry_ms: got %v, want 5ms", st.RetryIn)
	}
	s.accept(time.Minute)
}

func TestStopCodesEndTheClient(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*peer){
		"bye": func(p *peer) { p.sendf(`{"type":"bye","code":4102,"message":"banned"}`) },
		"close": func(p *peer) {
			_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4102, "banned"), time.Time{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			c, result := start(t, s, client.Options{})
			mustJoin(t, c, "ops", nil)
			p := s.accept(time.Minute)
			p.expect(frame.TypeJoin)
			sending, err := c.Submit(t.Context(), "ops", "hi", "")
			if err != nil {
				t.Fatal(err)
			}
			end(p)
			var stopped *client.StoppedError
			if err := receive(t, result); !errors.As(err, &stopped) || stopped.Code != 4102 || stopped.Message != "banned" {
				t.Errorf("Run: got %v, want code 4102", err)
			}
			if _, err := sending.Wait(t.Context()); !errors.As(err, &stopped) {
				t.Errorf("Wait: got %v, want the stop", err)
			}
			if _, err := c.Send(t.Context(), "ops", "hi", ""); !errors.As(err, &stopped) {
				t.Errorf("Send: got %v, want the stop", err)
			}
			if _, _, err := c.History(t.Context(), "ops", nil, nil, 5); !errors.As(err, &stopped) {
				t.Errorf("History: got %v, want the stop", err)
			}
		})
	}
}

func TestSilentServerIsLeftAfterTwoHeartbeats(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server, o client.Options) {
		states := make(chan client.State, 8)
		o.OnState = func(st client.State) { states <- st }
		start(t, s, o)
		const heartbeat = 15 * time.Second
		p := s.accept(heartbeat)
		receive(t, states)
		// Pings keep it alive for longer than two heartbeats.
		for range 4 {
			time.Sleep(2*heartbeat - 1)
			if err := p.ws.WriteControl(websocket.PingMessage, nil, time.Time{}); err != nil {
				t.Fatalf("the client left a server that pings: %v", err)
			}
		}
		synctest.Wait()
		if len(states) != 0 {
			t.Fatalf("got %+v from a server that pings", receive(t, states))
		}
		silent := time.Now()
		if st := receive(t, states); st.Connected || st.Err == nil {
			t.Errorf("got %+v", st)
		}
		if d := time.Since(silent); d != 2*heartbeat {
			t.Errorf("left after %v, want %v", d, 2*heartbeat)
		}
	})
}

func TestAnswerThatNeverComesBreaksTheConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server, o client.Options) {
		o.AnswerTimeout = 5 * time.Second
		c, _ := start(t, s, o)
		mustJoin(t, c, "ops", nil)
		p := s.accept(time.Minute)
		p.expect(frame.TypeJoin) // and no answer
		asked := time.Now()
		p = s.accept(time.Minute)
		if d := time.Since(asked); d < o.AnswerTimeout || d > o.AnswerTimeout+time.Second {
			t.Errorf("another connection came after %v, want %v", d, o.AnswerTimeout)
		}
		p.joined(p.expect(frame.TypeJoin), 0)
		sending, err := c.Submit(t.Context(), "ops", "hi", "")
		if err != nil {
			t.Fatal(err)
		}
		p.expect(frame.TypeSend) // and no answer
		p = s.accept(time.Minute)
		p.joined(p.expect(frame.TypeJoin), 0)
		f := p.expect(frame.TypeSend)
		if f.ID != sending.ID() {
			t.Errorf("got id %s, want %s again", f.ID, sending.ID())
		}
		p.accepted(f, 1)
		if a, err := sending.Wait(t.Context()); err != nil || a.Seq != 1 {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestClientLeavesPolitely(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := client.Options{Server: s.url, Name: "ann"}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run := make(chan error, 1)
	go func() { run <- c.Run(ctx) }()
	p := s.accept(time.Minute)
	cancel()
	if err := p.left(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the server saw %v, want a normal closure", err)
	}
	if err := receive(t, run); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
}

func TestHistoryIsAnsweredOverAReconnect(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{})
	type answer struct {
		events   []frame.Event
		complete bool
		err      error
	}
	got := make(chan answer, 1)
	before := int64(9)
	go func() {
		var a answer
		a.events, a.complete, a.err = c.History(t.Context(), "ops", nil, &before, 3)
		got <- a
	}()
	p := s.accept(time.Minute)
	p.expect(frame.TypeHistory)
	p.cut()
	p = s.accept(time.Minute)
	h := p.expect(frame.TypeHistory)
	if *h.Before != 9 || *h.Limit != 3 || h.After != nil {
		t.Errorf("got %+v", h)
	}
	p.sendf(`{"type":"error","id":%q,"code":"unavailable","message":"later","retry":true,"retry_after_ms":1}`, h.ID)
	h = p.expect(frame.TypeHistory)
	p.sendf(`{"type":"events","id":%q,"room":"ops","complete":true,"events":[{"seq":7},{"seq":8}]}`, h.ID)
	a := receive(t, got)
	if a.err != nil || !a.complete || len(a.events) != 2 || a.events[1].Seq != 8 {
		t.Errorf("got %+v", a)
	}
	if _, _, err := c.History(t.Context(), "ops", &before, &before, 3); asFrameError(t, err).Code != frame.BadRequest {
		t.Errorf("both cursors: got %v", err)
	}
}

func TestRawEventsAreTheBytesOfTheWire(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	raw := make(chan string, 8)
	c, _ := start(t, s, client.Options{OnRawEvent: func(_ string, b json.RawMessage) { raw <- string(b) }})
	mustJoin(t, c, "ops", nil)
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 1)
	const event = `{"seq":1,"kind":"message","id":"a","from":"bob","sent_at":"2026-01-02T15:04:05.678Z","text":"<\u00e9>","later":[1,2]}`
	p.sendf(`{"type":"events","room":"ops","events":[%s]}`, event)
	if got := receive(t, raw); got != event {
		t.Errorf("got %s, want %s", got, event)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, o := range []client.Options{
		{Server: "localhost:8080", Name: "ann"}, {Server: "ftp://x", Name: "ann"}, {Server: "ws://", Name: "ann"},
		{Server: "ws://x"}, {Server: "ws://x", Name: " ann"}, {Server: "ws://x", Name: fmt.Sprintf("%051d", 1)},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("New(%+v): got no error", o)
		}
	}
	c, err := client.New(client.Options{Server: "wss://x", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	minus := int64(-1)
	if c.Join("a b", nil) == nil || c.Join("", nil) == nil || c.Join("ops", &minus) == nil {
		t.Error("Join took what is no room or no seq")
	}
}
