package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

func TestHTTPTwin(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		ann := hello(t, addr, "ann")
		ann.join("r", -1)
		for _, tc := range []struct {
			room, key, body string
			want            int
		}{
			{"r", "1", `{"name":"bot","text":"one"}`, 201},
			{"r", "1", `{"name":"bot","text":"one"}`, 200},
			{"r", "1", `{"name":"bot","text":"two"}`, 409},
			{"new", "2", `{"name":"bot","text":"makes a room"}`, 201},
			{"r", "", `{"name":"bot","text":"one"}`, 400},
			{"r", strings.Repeat("k", 65), `{"name":"bot","text":"one"}`, 400},
			{"no%20good", "3", `{"name":"bot","text":"one"}`, 400},
			{"r", "3", `{"text":"one"}`, 400},
			{"r", "3", `{"name":"bot"}`, 400},
			{"r", "3", `{"name":"bot","text":7}`, 400},
			{"r", "3", `{"name":"bot","text":"a\ud800"}`, 400},
			{"r", "3", `nonsense`, 400},
			{"r", "3", `{"name":"bot","text":"` + strings.Repeat("x", 4097) + `"}`, 413},
			{"r", "3", strings.Repeat("x", 70_000), 413},
		} {
			if resp := post(t, addr, tc.room, tc.key, tc.body); resp.StatusCode != tc.want {
				t.Errorf("POST %s %q %.60s: got %s, want %d", tc.room, tc.key, tc.body, resp.Status, tc.want)
			}
		}
		if e := ann.events("r", 0, 1)[0]; e.From != "bot" || e.Text != "one" {
			t.Errorf("event: %+v", e)
		}
		for query, want := range map[string]int{
			"": 200, "?after=0&limit=1": 200, "?after=&before=&limit=": 200, "?after=1&before=2": 400, "?after=-1": 400, "?after=x": 400,
			"?limit=0": 400, "?limit=201": 400, "?limit=-3": 400, "?before=0": 400, "?after=99999999999999999999": 400,
		} {
			resp, err := http.Get("http://" + addr + "/v1/rooms/r/events" + query)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("GET %q: got %s, want %d", query, resp.Status, want)
			}
		}
		if p := getEvents(t, addr, "r", "?after=0"); p.Room != "r" || p.Head != 1 || !p.Complete || len(p.Events) != 1 {
			t.Errorf("page: %+v", p)
		}
	})
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	addr := embedded(t, "--origins", "https://chat.example").addr
	for origin, want := range map[string]int{
		"": 101, "http://" + addr: 101, "https://chat.example": 101, "https://evil.example": 403, "null": 403,
	} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", h)
		if resp == nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("origin %q: got %s, want %d", origin, resp.Status, want)
		}
		_ = resp.Body.Close()
		if conn != nil {
			_ = conn.Close()
		}
	}
}

func post(tb testing.TB, addr, room, key, body string) *http.Response {
	tb.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/v1/rooms/"+room+"/messages", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	var v struct{ Type, Code, Message string }
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		tb.Errorf("POST %s: body: %v", room, err)
	}
	if ok := resp.StatusCode < 300; ok != (v.Type == "accepted") || ok == (v.Type == "error") {
		tb.Errorf("POST %s: %s with %+v", room, resp.Status, v)
	}
	return resp
}

func getEvents(tb testing.TB, addr, room, query string) frame.History {
	tb.Helper()
	resp, err := http.Get("http://" + addr + "/v1/rooms/" + room + "/events" + query)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	var p frame.History
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		tb.Fatal(err)
	}
	return p
}
