package baseline_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/bench/baseline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Members get every message in one order, a sender its answer, and a stop ends all connections.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- new(baseline.Server).Run(ctx, lis) }()

	const members, each = 3, 400 // more than a channel holds
	var conns [members]*websocket.Conn
	for i := range conns {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+lis.Addr().String()+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
		mustSay(t, conn, `{"type":"send","id":"0","room":"r","text":"early"}`)
		mustHear(t, conn, `"code":"not_joined"`)
		mustSay(t, conn, fmt.Sprintf(`{"type":"hello","name":"m%d"}`, i))
		mustHear(t, conn, `"type":"welcome"`)
		mustSay(t, conn, `{"type":"join","id":"j","room":"r"}`)
		mustHear(t, conn, fmt.Sprintf(`"count":%d`, i+1))
	}
	go func() {
		for n := range each {
			_ = conns[0].WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"send","id":"%d","room":"r","text":"x"}`, n))
		}
	}()
	for i, conn := range conns {
		seq, accepted := 0, 0
		for seq < each || i == 0 && accepted < each {
			_, b, err := conn.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(b), `{"type":"accepted"`) {
				accepted++
				continue
			}
			seq++
			if want := fmt.Sprintf(`{"type":"events","room":"r","events":[{"seq":%d,"kind":"message","id":"%d","from":"m0",`, seq, seq-1); !strings.HasPrefix(string(b), want) {
				t.Fatalf("member %d: got %s, want %s…", i, b, want)
			}
		}
		if i > 0 && accepted > 0 {
			t.Errorf("member %d heard %d answers to another", i, accepted)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func mustSay(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func mustHear(t *testing.T, conn *websocket.Conn, want string) {
	t.Helper()
	if _, b, err := conn.ReadMessage(); err != nil || !strings.Contains(string(b), want) {
		t.Fatalf("got %s, %v; want %s", b, err, want)
	}
}
