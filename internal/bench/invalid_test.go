//go:build unix

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/bench"
)

// A server that breaks a promise, or refuses, is not measured: each way is told.
func TestBadServersMakeNoValidResult(t *testing.T) {
	t.Parallel()
	event := func(seq int, id, text string) string {
		return fmt.Sprintf(`{"type":"events","room":"r","events":[{"seq":%d,"kind":"message","id":%q,"from":"a","sent_at":"2026-01-02T15:04:05Z","text":%q}]}`, seq, id, text)
	}
	accepted := func(seq int, id string) string {
		return fmt.Sprintf(`{"type":"accepted","id":%q,"room":"r","seq":%d}`, id, seq)
	}
	honest := func(n int, f frame.Client) []string { return []string{accepted(n, f.ID), event(n, f.ID, f.Text)} }
	for name, tt := range map[string]struct {
		answer func(n int, f frame.Client) []string // to the nth send, in room r
		want   string                               // empty: the result is valid
	}{
		"honest": {honest, ""},
		"repeats": {func(n int, f frame.Client) []string {
			return append(honest(n, f), event(n, f.ID, f.Text))
		}, "events came again"},
		"leaves out": {func(n int, f frame.Client) []string {
			return []string{accepted(n, f.ID), event(2*n, f.ID, f.Text)}
		}, "events are missing"},
		"never delivers": {func(n int, f frame.Client) []string { return []string{accepted(n, f.ID)} }, "had not come"},
		"never answers":  {func(n int, f frame.Client) []string { return []string{event(n, f.ID, f.Text)} }, "answers"},
		"accepts twice": {func(n int, f frame.Client) []string {
			return append(honest(n, f), accepted(n, f.ID))
		}, "accepted twice"},
		"accepts what nobody sent": {func(n int, f frame.Client) []string {
			return append(honest(n, f), accepted(n, "another"))
		}, "not ours"},
		"refuses": {func(n int, f frame.Client) []string {
			return []string{fmt.Sprintf(`{"type":"error","id":%q,"code":"rate_limited","message":"","retry":true}`, f.ID)}
		}, "--send-rate 0"},
		"ends": {func(int, frame.Client) []string { return []string{`{"type":"bye","code":4000,"message":"shutdown"}`} }, "a connection ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var within time.Duration // the default
			if strings.HasPrefix(name, "never") || name == "ends" {
				within = 100 * time.Millisecond // what is missing at the end can't come
			}
			b := mustOpen(t, bench.Config{Server: answering(t, tt.answer), DrainWithin: within})
			p := bench.Plan{Scenario: bench.Latency, For: 200 * time.Millisecond, Rounds: 1}
			p.Rooms, p.Senders, p.Rate, p.TextBytes = 1, 1, 200, 100
			r, err := b.Run(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			// How late the generator is depends on the machine.
			var reasons []string
			for _, text := range r.Invalid {
				if !strings.Contains(text, "late itself") {
					reasons = append(reasons, text)
				}
			}
			if tt.want == "" && len(reasons) > 0 {
				t.Errorf("not valid: %q", reasons)
			}
			if tt.want != "" && (r.Valid || !strings.Contains(strings.Join(reasons, "\n"), tt.want)) {
				t.Errorf("got valid %v, %q; want %q", r.Valid, reasons, tt.want)
			}
		})
	}
}

// A client that comes and leaves has seen its own messages before it leaves: where they do not come, no other one comes
// after it.
func TestChurnWaitsForItsOwnMessages(t *testing.T) {
	t.Parallel()
	const window = 2
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var came atomic.Int64
	b := mustOpen(t, bench.Config{Server: answering(t, func(n int, f frame.Client) []string {
		if came.Add(1) == window {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
		return []string{fmt.Sprintf(`{"type":"accepted","id":%q,"room":"r","seq":%d}`, f.ID, n)}
	})})
	p := bench.Plan{Scenario: bench.Churn, For: time.Minute, Rounds: 1}
	p.Rooms, p.Subscribers, p.Window, p.TextBytes = 1, 1, window, 100
	if r, err := b.Run(ctx, p); !errors.Is(err, context.Canceled) || r.Valid || came.Load() != window {
		t.Errorf("got %v, %+v, after %d messages; want the first client to stay after its %d", err, r.Rounds, came.Load(), window)
	}
}

// A round in which nobody came measured nothing.
func TestChurnWithoutClientsIsNotValid(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, bench.Config{Server: answering(t, func(int, frame.Client) []string { return nil })})
	p := bench.Plan{Scenario: bench.Churn, For: time.Nanosecond, Rounds: 1}
	p.Rooms, p.Subscribers, p.Window, p.TextBytes = 1, 1, 1, 100
	r, err := b.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Valid || !strings.Contains(strings.Join(r.Invalid, "\n"), "no client came") {
		t.Errorf("got valid %v, %q", r.Valid, r.Invalid)
	}
}

// answering is a server with one room and one member.
func answering(t *testing.T, answer func(n int, f frame.Client) []string) *url.URL {
	t.Helper()
	var wg sync.WaitGroup
	var up websocket.Upgrader
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer conn.Close()
		for n := 0; ; {
			_, b, err := conn.ReadMessage()
			if err != nil {
				return
			}
			f, ferr := frame.Parse(b)
			if ferr != nil {
				t.Errorf("the generator sent %s: %v", b, ferr)
				return
			}
			var out []string
			switch f.Type {
			case frame.TypeHello:
				out = []string{`{"type":"welcome","protocol":"chat.v1"}`}
			case frame.TypeJoin:
				out = []string{`{"type":"joined","room":"r","head":0,"members":[]}`}
			default:
				n++
				out = answer(n, f)
			}
			for _, text := range out {
				if conn.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	u, err := url.Parse(strings.Replace(srv.URL, "http", "ws", 1))
	if err != nil {
		t.Fatal(err)
	}
	return u
}
