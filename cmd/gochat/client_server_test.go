package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

const (
	clientPatience = time.Minute
	testHeartbeat  = 300 * time.Millisecond // where a test waits for two of them
)

// clientServer is a WebSocket server that plays a script: react is called for every frame of every connection, and what
// it returns is sent. A returned "cut" ends the connection.
type clientServer struct {
	url string
	h   *httptest.Server
}

func newClientServer(tb testing.TB, react func(conn int, f frame.Client) []string) *clientServer {
	var mu sync.Mutex
	conns := 0
	var up websocket.Upgrader
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		stop := make(chan struct{})
		pinged := make(chan struct{})
		go func() {
			defer close(pinged)
			keepAlive(ws, stop)
		}()
		defer func() {
			close(stop)
			_ = ws.Close()
			<-pinged
		}()
		mu.Lock()
		conns++
		conn := conns
		mu.Unlock()
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			var f frame.Client
			if err := json.Unmarshal(b, &f); err != nil {
				tb.Errorf("the client sent %q", b)
			}
			mu.Lock()
			answers := react(conn, f)
			mu.Unlock()
			for _, a := range answers {
				if a == "cut" {
					return
				}
				if err := ws.WriteMessage(websocket.TextMessage, []byte(a)); err != nil {
					return
				}
			}
		}
	}))
	s := &clientServer{url: "ws" + strings.TrimPrefix(h.URL, "http"), h: h}
	tb.Cleanup(s.close)
	return s
}

// keepAlive pings, as a server does.
func keepAlive(ws *websocket.Conn, stop <-chan struct{}) {
	tick := time.NewTicker(testHeartbeat / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
				return
			}
		case <-stop:
			return
		}
	}
}

func (s *clientServer) close() {
	s.h.CloseClientConnections()
	s.h.Close()
}

func welcomeFrame(heartbeat time.Duration) string {
	return fmt.Sprintf(`{"type":"welcome","protocol":"chat.v1","user":"ann","session":"s","epoch":"e1","heartbeat_ms":%d,"limits":{}}`, heartbeat.Milliseconds())
}

func joinedFrame(j frame.Client, head, stored int64) string {
	return fmt.Sprintf(`{"type":"joined","id":%q,"room":%q,"epoch":"e1","head":%d,"stored":%d,"members":["bob"],"count":1}`, j.ID, j.Room, head, stored)
}

func eventJSON(seq int64, id, from, text string) string {
	return string(frame.Encode(frame.Event{
		Seq: seq, Kind: "message", ID: id, From: from, Text: text, SentAt: time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC),
	}))
}

// eventsFrame holds messages of bob whose id is their seq.
func eventsFrame(seqs ...int64) string {
	evs := make([]string, len(seqs))
	for i, n := range seqs {
		evs[i] = eventJSON(n, fmt.Sprint("m", n), "bob", fmt.Sprint("text ", n))
	}
	return `{"type":"events","room":"ops","events":[` + strings.Join(evs, ",") + `]}`
}

// screen collects what a command writes, and lets a test wait for it.
type screen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{} // capacity 1
}

func newScreen() *screen { return &screen{news: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
	return s.b.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await waits until the screen shows a text.
func (s *screen) await(tb testing.TB, text string) {
	tb.Helper()
	deadline := time.After(clientPatience)
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.news:
		case <-deadline:
			tb.Fatalf("the screen never shows %q:\n%s", text, s.String())
		}
	}
}

// program is a running command.
type program struct {
	tb       testing.TB
	in       *io.PipeWriter
	out, err *screen
	cancel   context.CancelFunc
	ended    chan error
}

// startProgram runs the whole program with an empty environment and a pipe for its input.
func startProgram(tb testing.TB, args ...string) *program {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	p := &program{tb: tb, in: w, out: newScreen(), err: newScreen(), cancel: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ended <- run(ctx, args, func(string) string { return "" }, r, p.out, p.err)
	}()
	tb.Cleanup(func() {
		cancel()
		_ = w.Close()
		<-done
	})
	return p
}

func (p *program) say(line string) {
	p.tb.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *program) wait() error {
	p.tb.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(clientPatience):
		p.tb.Fatalf("the program does not end; stdout:\n%s\nstderr:\n%s", p.out, p.err)
		return nil
	}
}
