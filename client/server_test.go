package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// server is a WebSocket server whose connections a test plays by hand.
type server struct {
	tb    testing.TB
	url   string
	conns chan *peer
}

// peer is the server's end of one connection.
type peer struct {
	tb     testing.TB
	ws     *websocket.Conn
	frames chan frame.Client // closed when the client is gone
	reason error             // set before frames is closed
}

func newServer(tb testing.TB) *server { return newServerOn(tb, nil) }

// newServerOn listens on l, or on a port of the system where it is nil.
func newServerOn(tb testing.TB, l net.Listener) *server {
	s := &server{tb: tb, conns: make(chan *peer, 16)}
	up := websocket.Upgrader{Subprotocols: []string{frame.Protocol}}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		p := &peer{tb: tb, ws: ws, frames: make(chan frame.Client, 4096)}
		defer close(p.frames)
		select {
		case s.conns <- p:
		default:
		}
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				p.reason = err
				_ = ws.Close()
				return
			}
			var c frame.Client
			if err := json.Unmarshal(b, &c); err != nil {
				tb.Errorf("the client sent %q: %v", b, err)
			}
			p.frames <- c
		}
	}))
	if l != nil {
		_ = h.Listener.Close()
		h.Listener = l
	}
	h.Start()
	tb.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	s.url = "ws" + h.URL[len("http"):]
	return s
}

// accept waits for the next connection and answers its hello.
func (s *server) accept(heartbeat time.Duration) *peer {
	s.tb.Helper()
	p := s.acceptRaw()
	if h := p.expect(frame.TypeHello); h.Name != "ann" {
		s.tb.Fatalf("hello: got name %q, want ann", h.Name)
	}
	p.sendf(`{"type":"welcome","protocol":"chat.v1","user":"ann","session":"s","epoch":"e1","heartbeat_ms":%d,"limits":{"text_bytes":4096,"rate_per_s":0,"burst":0,"rooms":100},"server":"test"}`, heartbeat.Milliseconds())
	return p
}

func (s *server) acceptRaw() *peer {
	s.tb.Helper()
	select {
	case p := <-s.conns:
		return p
	case <-time.After(patience):
		s.tb.Fatal("no connection came")
		return nil
	}
}

// expect waits for the next frame, which must have the type.
func (p *peer) expect(kind string) frame.Client {
	p.tb.Helper()
	select {
	case f, ok := <-p.frames:
		if !ok {
			p.tb.Fatalf("the client left (%v) where %s was expected", p.reason, kind)
		}
		if f.Type != kind {
			p.tb.Fatalf("got %+v, want a %s", f, kind)
		}
		return f
	case <-time.After(patience):
		p.tb.Fatalf("no %s came", kind)
		return frame.Client{}
	}
}

func (p *peer) sendf(format string, args ...any) {
	p.tb.Helper()
	if err := p.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		p.tb.Fatalf("write to the client: %v", err)
	}
}

// joined answers a join.
func (p *peer) joined(j frame.Client, head int64) {
	p.tb.Helper()
	p.sendf(`{"type":"joined","id":%q,"room":%q,"epoch":"e1","head":%d,"stored":0,"members":["ann"],"count":1}`, j.ID, j.Room, head)
}

// events sends messages of bob in the room ops.
func (p *peer) events(seqs ...int64) {
	p.tb.Helper()
	f := frame.Events{Type: frame.TypeEvents, Room: "ops"}
	for _, n := range seqs {
		f.Events = append(f.Events, frame.Event{Seq: n, Kind: "message", ID: fmt.Sprint("m", n), From: "bob", Text: fmt.Sprint("text ", n)})
	}
	p.sendf("%s", frame.Encode(f))
}

func (p *peer) accepted(s frame.Client, seq int64) {
	p.tb.Helper()
	p.sendf(`{"type":"accepted","id":%q,"room":%q,"seq":%d,"sent_at":"2026-01-02T15:04:05.678Z"}`, s.ID, s.Room, seq)
}

func (p *peer) cut() { _ = p.ws.NetConn().Close() }

// left waits until the client is gone and tells how it went.
func (p *peer) left() error {
	p.tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-p.frames:
			if !ok {
				return p.reason
			}
		case <-deadline:
			p.tb.Fatal("the client stays")
		}
	}
}

// quick is a backoff for tests.
func quick(int) time.Duration { return time.Millisecond }

// inBubble runs a test with a fake clock, which no pause of the machine moves. The options dial its server.
func inBubble(t *testing.T, f func(t *testing.T, s *server, o client.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := sim.NewListener()
		dialer := &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
		f(t, newServerOn(t, l), client.Options{Dialer: dialer})
	})
}

// start runs a client; at the end of the test it is stopped and must have returned what stop wants.
func start(tb testing.TB, s *server, o client.Options) (c *client.Client, result <-chan error) {
	tb.Helper()
	o.Server, o.Name = s.url, "ann"
	if o.Backoff == nil {
		o.Backoff = quick
	}
	c, err := client.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done <- c.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-ended
	})
	return c, done
}

// receive takes the next value of a channel, in time.
func receive[T any](tb testing.TB, ch <-chan T) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		tb.Fatal("nothing came")
		panic("unreachable")
	}
}

func mustJoin(tb testing.TB, c *client.Client, room string, after *int64) {
	tb.Helper()
	if err := c.Join(room, after); err != nil {
		tb.Fatal(err)
	}
}

func asFrameError(tb testing.TB, err error) *frame.Error {
	tb.Helper()
	var fe *frame.Error
	if !errors.As(err, &fe) {
		tb.Fatalf("got %v, want an error frame", err)
	}
	return fe
}
