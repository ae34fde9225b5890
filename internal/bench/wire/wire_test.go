//go:build unix

package wire_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/bench/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a gorilla server whose connections f has, over TLS or not, and returns a dialer for it.
func serve(t *testing.T, secure bool, f func(*websocket.Conn)) *wire.Dialer {
	t.Helper()
	var wg sync.WaitGroup
	up := websocket.Upgrader{Subprotocols: []string{"chat.v1"}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer conn.Close()
		f(conn)
	})
	srv := httptest.NewUnstartedServer(handler)
	d := &wire.Dialer{Protocol: "chat.v1"}
	if secure {
		srv.StartTLS()
		d.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig
	} else {
		srv.Start()
	}
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	u, err := url.Parse(strings.Replace(srv.URL, "http", "ws", 1))
	if err != nil {
		t.Fatal(err)
	}
	d.Server = u
	return d
}

func mustDial(t *testing.T, d *wire.Dialer) *wire.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sizes are those at which the header changes, and where a frame outgrows a buffer.
var sizes = []int{0, 1, 125, 126, 127, 65535, 65536, 300_000}

func TestFramesAreThoseOfGorilla(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t, secure, func(conn *websocket.Conn) {
				for { // an echo, each three times with a ping between
					kind, b, err := conn.ReadMessage()
					if err != nil {
						return
					}
					for range 3 {
						if conn.WriteMessage(websocket.PingMessage, []byte("alive")) != nil || conn.WriteMessage(kind, b) != nil {
							return
						}
					}
				}
			})
			c := mustDial(t, d)
			var out []byte
			var want, got []int
			for _, n := range sizes {
				out = wire.AppendText(out, bytes.Repeat([]byte{'x'}, n))
				want = append(want, n, n, n)
			}
			written := make(chan error, 1)
			go func() { written <- c.Write(out) }()
			for len(got) < len(want) {
				if err := c.Read(func(p []byte) error {
					if bytes.Count(p, []byte{'x'}) != len(p) {
						t.Errorf("a frame of %d bytes came back changed", len(p))
					}
					got = append(got, len(p))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPingsAreAnswered(t *testing.T) {
	t.Parallel()
	pong := make(chan string, 1)
	d := serve(t, false, func(conn *websocket.Conn) {
		conn.SetPongHandler(func(data string) error { pong <- data; return nil })
		_ = conn.WriteMessage(websocket.PingMessage, []byte("are you there"))
		_, _, _ = conn.ReadMessage()
	})
	c := mustDial(t, d)
	if err := c.Read(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := <-pong; got != "are you there" {
		t.Errorf("got %q", got)
	}
	_ = c.Close()
}

// A frame that comes byte by byte is handed over once, whole.
func TestFrameInPieces(t *testing.T) {
	t.Parallel()
	d := serve(t, false, func(conn *websocket.Conn) {
		payload := bytes.Repeat([]byte("ab"), 100)
		for _, b := range append([]byte{0x81, 126, 0, 200}, payload...) {
			if _, err := conn.NetConn().Write([]byte{b}); err != nil {
				return
			}
		}
		_ = conn.WriteMessage(websocket.TextMessage, []byte("next"))
		_, _, _ = conn.ReadMessage()
	})
	c := mustDial(t, d)
	var got []string
	for len(got) < 2 {
		if err := c.Read(func(p []byte) error { got = append(got, string(p)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{strings.Repeat("ab", 100), "next"}, got); diff != "" {
		t.Error(diff)
	}
	_ = c.Close()
}

func TestWhatEndsAConnection(t *testing.T) {
	t.Parallel()
	d := serve(t, false, func(conn *websocket.Conn) {
		_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4003, "overloaded"))
	})
	var closed *wire.ClosedError
	if err := mustDial(t, d).Read(func([]byte) error { return nil }); !errors.As(err, &closed) || closed.Code != 4003 || closed.Reason != "overloaded" {
		t.Errorf("got %v", err)
	}

	quiet := serve(t, false, func(conn *websocket.Conn) { _, _, _ = conn.ReadMessage() })
	c := mustDial(t, quiet)
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.Read(func([]byte) error { return nil }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = c.Close()
}

func TestHandshakeWithWhatIsNoWebSocket(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&wire.Dialer{Server: u}).Dial(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
}
