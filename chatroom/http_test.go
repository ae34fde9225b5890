package chatroom

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// A page that nobody takes is given up, with its connection. A WebSocket of the same server lives on, and is answered.
func TestAPageThatIsNotTakenIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, listen := serveSim(t, filled(t, frame.MaxHistory, longest))
		ann := greet(t, listen, "ann")
		_ = ann.conn.SetReadDeadline(time.Time{})
		joined := make(chan struct{})
		go func() {
			for {
				_, b, err := ann.conn.ReadMessage()
				if err != nil {
					return
				}
				if bytes.Contains(b, []byte(`"type":"joined"`)) {
					close(joined)
				}
			}
		}()
		conn, err := listen.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "GET /v1/rooms/r/events?limit=200 HTTP/1.1\r\nHost: chat\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := io.Copy(io.Discard, conn); err != nil || n > 0 {
			t.Errorf("after a minute %d bytes still come, and %v; want the end of the connection", n, err)
		}
		ann.say(`{"type":"join","room":"r"}`)
		select {
		case <-joined:
		case <-time.After(time.Second):
			t.Error("the WebSocket is not answered after a minute")
		}
	})
}
