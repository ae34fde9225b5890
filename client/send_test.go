package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

func submit(tb testing.TB, c *client.Client, room, text, id string) *client.Sending {
	tb.Helper()
	s, err := c.Submit(tb.Context(), room, text, id)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustAccept(tb testing.TB, s *client.Sending, seq int64) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if a, err := s.Wait(ctx); err != nil || a.Seq != seq || a.ID != s.ID() {
		tb.Fatalf("got %+v, %v, want #%d", a, err, seq)
	}
}

func TestLostAcceptedIsAskedForWithTheSameIDInOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{})
	mustJoin(t, c, "ops", nil)
	var all []*client.Sending
	for i := range 50 {
		all = append(all, submit(t, c, "ops", fmt.Sprint("text ", i), ""))
	}
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	for i := range client.MaxInFlight {
		if f := p.expect(frame.TypeSend); f.ID != all[i].ID() || f.Text != fmt.Sprint("text ", i) {
			t.Fatalf("send %d: got %+v", i, f)
		}
	}
	// All 32 are committed here; two answers arrive, the others are lost with the connection.
	p.accepted(frame.Client{ID: all[0].ID(), Room: "ops"}, 1)
	p.accepted(frame.Client{ID: all[1].ID(), Room: "ops"}, 2)
	mustAccept(t, all[1], 2)
	for i := range 2 {
		if f := p.expect(frame.TypeSend); f.ID != all[client.MaxInFlight+i].ID() {
			t.Fatalf("after two answers: got %+v", f)
		}
	}
	p.cut()

	p = s.accept(time.Minute)
	join := p.expect(frame.TypeJoin)
	select {
	case f := <-p.frames:
		t.Fatalf("got %+v before the join was answered", f)
	default:
	}
	p.joined(join, 34)
	for i := 2; i < 50; i++ {
		f := p.expect(frame.TypeSend)
		if f.ID != all[i].ID() {
			t.Fatalf("send %d again: got %+v", i, f)
		}
		p.accepted(f, int64(i+1))
	}
	for i, sending := range all {
		mustAccept(t, sending, int64(i+1))
	}
}

func TestMoreThan32AreNeverInFlight(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{})
	mustJoin(t, c, "ops", nil)
	for i := range 100 {
		submit(t, c, "ops", fmt.Sprint(i), fmt.Sprint("id", i))
	}
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	for range client.MaxInFlight {
		p.expect(frame.TypeSend)
	}
	// What the client asks for now is written after any further send would have been.
	go func() { _, _, _ = c.History(t.Context(), "ops", nil, nil, 1) }()
	p.expect(frame.TypeHistory)
	p.cut()
}

func TestRefusedForAWhileIsSentAgainBeforeWhatFollows(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{InFlight: 2})
	mustJoin(t, c, "ops", nil)
	mustJoin(t, c, "dev", nil)
	a := submit(t, c, "ops", "a", "a")
	b := submit(t, c, "ops", "b", "b")
	d := submit(t, c, "ops", "d", "d")
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	p.joined(p.expect(frame.TypeJoin), 0)
	p.expect(frame.TypeSend)
	p.expect(frame.TypeSend)
	p.sendf(`{"type":"error","id":"a","code":"rate_limited","message":"slow","retry":true,"retry_after_ms":1}`)
	// b is still on the wire: nothing more of this room goes out, but another room is free.
	other := submit(t, c, "dev", "x", "x")
	if f := p.expect(frame.TypeSend); f.ID != "x" {
		t.Fatalf("got %+v, want x of the other room", f)
	}
	p.accepted(frame.Client{ID: "x", Room: "dev"}, 1)
	mustAccept(t, other, 1)
	p.sendf(`{"type":"error","id":"b","code":"unavailable","message":"later","retry":true}`)
	for i, id := range []string{"a", "b", "d"} {
		f := p.expect(frame.TypeSend)
		if f.ID != id {
			t.Fatalf("got %s, want %s", f.ID, id)
		}
		p.accepted(f, int64(i+1))
	}
	mustAccept(t, a, 1)
	mustAccept(t, b, 2)
	mustAccept(t, d, 3)
}

func TestRefusedForGoodIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	refused := make(chan string, 1)
	c, _ := start(t, s, client.Options{OnRefused: func(room, id string, err *frame.Error) {
		refused <- room + " " + id + " " + string(err.Code)
	}})
	mustJoin(t, c, "ops", nil)
	a := submit(t, c, "ops", "a", "a")
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	p.expect(frame.TypeSend)
	p.sendf(`{"type":"error","id":"a","code":"id_conflict","message":"used","retry":false}`)
	if _, err := a.Wait(t.Context()); asFrameError(t, err).Code != frame.IDConflict {
		t.Errorf("got %v, want id_conflict", err)
	}
	if got := receive(t, refused); got != "ops a id_conflict" {
		t.Errorf("OnRefused: got %q", got)
	}
}

func TestRefusedJoinFailsItsSends(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	told := make(chan *frame.Error, 1)
	c, _ := start(t, s, client.Options{OnError: func(e *frame.Error) { told <- e }})
	mustJoin(t, c, "ops", nil)
	a := submit(t, c, "ops", "a", "a")
	p := s.accept(time.Minute)
	j := p.expect(frame.TypeJoin)
	p.sendf(`{"type":"error","id":%q,"code":"unavailable","message":"later","retry":true,"retry_after_ms":1}`, j.ID)
	j = p.expect(frame.TypeJoin)
	p.sendf(`{"type":"error","id":%q,"code":"forbidden","message":"no","retry":false}`, j.ID)
	if _, err := a.Wait(t.Context()); asFrameError(t, err).Code != frame.Forbidden {
		t.Errorf("got %v, want forbidden", err)
	}
	if e := receive(t, told); e.Code != frame.Forbidden {
		t.Errorf("OnError: got %v", e)
	}
}

func TestSubmitRefusesWhatNoServerTakes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{})
	mustJoin(t, c, "ops", nil)
	for name, tc := range map[string]struct {
		text, id string
		want     frame.Code
	}{
		"too long":      {strings.Repeat("x", frame.MaxText+1), "", frame.TooLarge},
		"white space":   {" \n", "", frame.BadRequest},
		"NUL":           {"a\x00", "", frame.BadRequest},
		"invalid UTF-8": {"a\xff", "", frame.BadRequest},
		"long id":       {"a", strings.Repeat("i", 65), frame.BadRequest},
	} {
		if _, err := c.Submit(t.Context(), "ops", tc.text, tc.id); asFrameError(t, err).Code != tc.want {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
	if _, err := c.Submit(t.Context(), "dev", "a", ""); !errors.Is(err, client.ErrNotJoined) {
		t.Errorf("not joined: got %v", err)
	}
	left := submit(t, c, "ops", "a", "a")
	if _, err := c.Submit(t.Context(), "ops", "b", "a"); asFrameError(t, err).Code != frame.IDConflict {
		t.Errorf("id on its way: got %v", err)
	}
	c.Leave("ops")
	if _, err := left.Wait(t.Context()); !errors.Is(err, client.ErrNotJoined) {
		t.Errorf("left: got %v", err)
	}
}

func TestSendGivenUpIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := start(t, s, client.Options{})
	mustJoin(t, c, "ops", nil)
	a := submit(t, c, "ops", "a", "a")
	b := submit(t, c, "ops", "b", "b")
	p := s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	p.expect(frame.TypeSend)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	p.cut()
	p = s.accept(time.Minute)
	p.joined(p.expect(frame.TypeJoin), 0)
	f := p.expect(frame.TypeSend)
	if f.ID != "b" {
		t.Errorf("got %s, want b", f.ID)
	}
	p.accepted(f, 2)
	mustAccept(t, b, 2)
}

func TestEndFailsWhatIsLeft(t *testing.T) {
	t.Parallel()
	c, err := client.New(client.Options{Server: "ws://127.0.0.1:1", Name: "ann", Backoff: quick})
	if err != nil {
		t.Fatal(err)
	}
	mustJoin(t, c, "ops", nil)
	a := submit(t, c, "ops", "a", "a")
	ctx, cancel := context.WithCancel(t.Context())
	run := make(chan error, 1)
	go func() { run <- c.Run(ctx) }()
	cancel()
	if err := receive(t, run); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if _, err := a.Wait(t.Context()); !errors.Is(err, client.ErrEnded) {
		t.Errorf("got %v, want ErrEnded", err)
	}
}
