package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// wire is a client that knows nothing but frames: what a stranger would write from docs/protocol.md.
type wire struct {
	tb   testing.TB
	conn *websocket.Conn
	held []frame.Server // read while waiting for something else
}

const wireTimeout = 20 * time.Second

// connect opens a connection without a hello.
func connect(tb testing.TB, addr string) *wire {
	tb.Helper()
	d := websocket.Dialer{Subprotocols: []string{frame.Protocol}, HandshakeTimeout: wireTimeout}
	conn, resp, err := d.Dial("ws://"+addr+"/ws", nil)
	if err != nil {
		tb.Fatalf("dial %s: %v", addr, err)
	}
	_ = resp.Body.Close()
	if got := conn.Subprotocol(); got != frame.Protocol {
		tb.Errorf("subprotocol: got %q, want %q", got, frame.Protocol)
	}
	w := &wire{tb: tb, conn: conn}
	tb.Cleanup(func() { _ = conn.Close() })
	return w
}

// hello opens a connection and says hello.
func hello(tb testing.TB, addr, name string) *wire {
	tb.Helper()
	w := connect(tb, addr)
	w.say(`{"type":"hello","name":%q}`, name)
	if f := w.wait("welcome"); f.User != name || f.Protocol != frame.Protocol || f.Epoch == "" {
		tb.Fatalf("welcome: %+v", f)
	}
	return w
}

func (w *wire) say(format string, args ...any) {
	w.tb.Helper()
	if err := w.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		w.tb.Fatal(err)
	}
}

// read returns the next frame of any type.
func (w *wire) read() (frame.Server, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(wireTimeout))
	_, b, err := w.conn.ReadMessage()
	if err != nil {
		return frame.Server{}, err
	}
	var f frame.Server
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%s: %w", b, err)
	}
	return f, nil
}

// next returns the oldest frame that match takes; the others stay for later.
func (w *wire) next(what string, match func(frame.Server) bool) frame.Server {
	w.tb.Helper()
	for i, f := range w.held {
		if match(f) {
			w.held = append(w.held[:i], w.held[i+1:]...)
			return f
		}
	}
	for {
		f, err := w.read()
		if err != nil {
			w.tb.Fatalf("waiting for %s: %v; held: %+v", what, err, w.held)
		}
		if match(f) {
			return f
		}
		w.held = append(w.held, f)
	}
}

// wait returns the next frame of a type.
func (w *wire) wait(kind string) frame.Server {
	w.tb.Helper()
	return w.next(kind, func(f frame.Server) bool { return f.Type == kind })
}

// answer returns the frame that answers a request.
func (w *wire) answer(id string) frame.Server {
	w.tb.Helper()
	return w.next("the answer to "+id, func(f frame.Server) bool { return f.ID == id })
}

// refused waits for an error frame with a code; id may be empty.
func (w *wire) refused(code frame.Code, id string) frame.Server {
	w.tb.Helper()
	f := w.wait("error")
	if got := text(f.Code); got != string(code) || f.ID != id || f.Message == "" || f.Retry != code.Retry() {
		w.tb.Errorf("error: got %s id %q retry %v %q, want %s id %q", got, f.ID, f.Retry, f.Message, code, id)
	}
	return f
}

// closed waits for the bye with a code, and the close frame with the same.
func (w *wire) closed(code int) frame.Server {
	w.tb.Helper()
	bye := w.wait("bye")
	if got := text(bye.Code); got != fmt.Sprint(code) || bye.Message == "" {
		w.tb.Errorf("bye: got %s %q, want %d", got, bye.Message, code)
	}
	_, err := w.read()
	var ce *websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != code {
		w.tb.Errorf("close: got %v, want %d", err, code)
	}
	return bye
}

// join joins from a seq (-1: absent) and returns the answer.
func (w *wire) join(room string, after int64) frame.Server {
	w.tb.Helper()
	if after < 0 {
		w.say(`{"type":"join","id":"join-%s","room":%q}`, room, room)
	} else {
		w.say(`{"type":"join","id":"join-%s","room":%q,"after":%d}`, room, room, after)
	}
	return w.next("joined", func(f frame.Server) bool { return f.Type == "joined" && f.Room == room })
}

// send sends and waits for accepted.
func (w *wire) send(room, id, text string) frame.Server {
	w.tb.Helper()
	b, err := json.Marshal(map[string]string{"type": "send", "id": id, "room": room, "text": text})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.say("%s", b)
	f := w.answer(id)
	if f.Type != "accepted" {
		w.tb.Fatalf("send %s: got %+v", id, f)
	}
	return f
}

// events reads pushed events of a room until seq, and fails on a gap, a duplicate or another order.
func (w *wire) events(room string, after, until int64) []frame.Event {
	w.tb.Helper()
	var got []frame.Event
	for last := after; last < until; {
		f := w.next(fmt.Sprintf("event %d of %s", last+1, room), func(f frame.Server) bool {
			return f.Type == "events" && f.Room == room && f.ID == ""
		})
		for _, e := range f.Events {
			if e.Seq != last+1 {
				w.tb.Fatalf("%s: got seq %d after %d", room, e.Seq, last)
			}
			last = e.Seq
			got = append(got, e)
		}
	}
	return got
}

// stored waits until a room's mark reaches seq.
func (w *wire) stored(room string, seq int64) {
	w.tb.Helper()
	last := int64(0)
	for last < seq {
		f := w.next(fmt.Sprintf("stored %d of %s", seq, room), func(f frame.Server) bool {
			return f.Type == "stored" && f.Room == room
		})
		if f.Seq < last {
			w.tb.Errorf("stored went back from %d to %d", last, f.Seq)
		}
		last = f.Seq
	}
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
