package chatroom

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

// filled is a store whose room "r" has so many events of a text.
func filled(tb testing.TB, n int, text string) *storetest.Memory {
	tb.Helper()
	m := storetest.NewMemory()
	sends := make([]store.Send, n)
	for i := range sends {
		sends[i] = store.Send{Sender: "ann", ID: fmt.Sprint(i), Room: "r", Text: text, SentAt: time.Now()}
	}
	if _, err := m.Accept(tb.Context(), sends); err != nil {
		tb.Fatal(err)
	}
	return m
}

// longest is the text that takes the most bytes as JSON.
var longest = strings.Repeat("\x01", frame.MaxText)

// serveSim runs a chat room within a bubble. Its connections have no buffer: an answer is written when it is read.
func serveSim(tb testing.TB, s store.Store) (*Server, *sim.Listener) {
	tb.Helper()
	srv, err := New(tb.Context(), Options{Store: s, History: nothingStored{}})
	if err != nil {
		tb.Fatal(err)
	}
	listen := sim.NewListener()
	web := HTTPServer(srv.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Run(ctx) })
	wg.Go(func() { _ = web.Serve(listen) })
	tb.Cleanup(func() {
		cancel()
		_ = web.Close()
		wg.Wait()
	})
	return srv, listen
}

// greet is a bare client that has said hello, and has read the answer.
func greet(tb testing.TB, listen *sim.Listener, name string) *peer {
	tb.Helper()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return listen.Dial(ctx) }}
	conn, resp, err := d.DialContext(tb.Context(), "ws://chat/ws", nil)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	tb.Cleanup(func() { _ = conn.Close() })
	p := &peer{tb: tb, conn: conn}
	p.say(`{"type":"hello","name":%q}`, name)
	p.until(func(f frame.Server) bool { return f.Type == frame.TypeWelcome })
	return p
}

// counted is a store that counts the reads of pages that look backward.
type counted struct {
	store.Store
	pages atomic.Int64
}

func (s *counted) Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	if before != 0 {
		s.pages.Add(1)
	}
	return s.Store.Tail(ctx, room, after, before, limit)
}

// Whoever asks for pages and does not read holds a few of them in memory, however many he asked for. His other requests are
// served meanwhile, and each page comes when the ones before it are taken.
func TestWhoDoesNotReadHoldsFewPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const asked = 32
		m := filled(t, frame.MaxHistory, strings.Repeat("x", writeBytes/frame.MaxHistory)) // one page goes into a write
		s := &counted{Store: m}
		_, listen := serveSim(t, s)
		ann := greet(t, listen, "ann")
		ann.say(`{"type":"join","room":"other","after":0}`)
		ann.until(func(f frame.Server) bool { return f.Type == frame.TypeJoined })
		synctest.Wait()
		s.pages.Store(0)
		for i := range asked {
			ann.say(`{"type":"history","id":"%d","room":"r","before":%d,"limit":200}`, i, frame.MaxHistory+1)
		}
		ann.say(`{"type":"send","id":"send","room":"other","text":"x"}`)
		for read := range asked {
			synctest.Wait()
			if got, want := s.pages.Load(), int64(min(read+pageSlots, asked)); got != want {
				t.Fatalf("%d pages were read from the database when the client had taken %d, want %d", got, read, want)
			}
			if n := len(m.Log("other")); n != 1 {
				t.Fatalf("a send behind the pages was accepted %d times, want 1", n)
			}
			for page := false; !page; {
				_, b, err := ann.conn.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				page = bytes.HasSuffix(b, []byte(`"complete":true}`))
			}
		}
	})
}

// Pages that wait for their turn do not hold up the end of a session, whoever ends it, and whether the client reads or not.
func TestPagesThatWaitEndWithTheSession(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*peer, *Server){
		"stop": func(_ *peer, srv *Server) { srv.stop(errStopping); srv.interrupt() },
		"gone": func(p *peer, _ *Server) { _ = p.conn.Close() },
		"mute": func(*peer, *Server) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, listen := serveSim(t, filled(t, frame.MaxHistory, longest))
				ann := greet(t, listen, "ann")
				for i := range slots {
					ann.say(`{"type":"history","id":"%d","room":"r","after":0,"limit":200}`, i)
				}
				synctest.Wait()
				leave(ann, srv)
				time.Sleep(writeTimeout + time.Second)
				synctest.Wait()
				srv.mu.Lock()
				defer srv.mu.Unlock()
				if srv.open != 0 {
					t.Errorf("%d sessions are left", srv.open)
				}
			})
		})
	}
}

// Pages in both directions lead through a room whose texts grow when they are encoded, and none is much too large. Where all
// fits, a page is as long as it was asked for.
func TestPagesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text       string
		head, most int64
	}{
		{longest, 100, 50},
		{strings.Repeat("x", frame.MaxText), frame.MaxHistory + 7, frame.MaxHistory},
	} {
		srv, err := New(t.Context(), Options{Store: filled(t, int(tc.head), tc.text), History: nothingStored{}})
		if err != nil {
			t.Fatal(err)
		}
		read := func(after, before *int64) []frame.Event {
			t.Helper()
			p, err := srv.page(t.Context(), "r", after, before, frame.MaxHistory)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(len(p.Events))
			if size := len(frame.Encode(p)); size > pageBytes+1024 || n == 0 || n > tc.most || n < tc.most/2 && !p.Complete {
				t.Fatalf("a page of %d events, %d bytes, complete: %v", n, size, p.Complete)
			}
			first, last := p.Events[0].Seq, p.Events[n-1].Seq
			follows, complete := after != nil && first == *after+1, last == tc.head
			if before != nil {
				follows, complete = last == *before-1, first == 1
			}
			if !follows || last-first != n-1 || p.Complete != complete {
				t.Fatalf("a page of %d events from %d to %d, complete: %v", n, first, last, p.Complete)
			}
			return p.Events
		}
		for after := int64(0); after < tc.head; {
			evs := read(&after, nil)
			after = evs[len(evs)-1].Seq
		}
		for before := tc.head + 1; before > 1; {
			before = read(nil, &before)[0].Seq
		}
	}
}

// stalled is a store that does not tell heads until it is let go, whoever has given up meanwhile.
type stalled struct {
	store.Store
	let     chan struct{}
	reading atomic.Int64
}

func (s *stalled) Heads(ctx context.Context, rooms []string) (map[string]int64, error) {
	s.reading.Add(1)
	defer s.reading.Add(-1)
	<-s.let
	return s.Store.Heads(ctx, rooms)
}

// However many pages are asked for, over WebSocket and HTTP, a few are read at once, since accepting needs the same
// connections to the database. Who waits too long for his turn is told to try again; the others get their pages.
func TestPageReadsAreBoundedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gets, conns = 30, 5
		s := &stalled{Store: filled(t, 1, "x")}
		srv, listen := serveSim(t, s)
		peers := make([]*peer, conns)
		for i := range peers {
			peers[i] = greet(t, listen, fmt.Sprint("peer-", i))
		}
		var answered atomic.Int64
		ask := func() (answers []*httptest.ResponseRecorder, wait func()) {
			t.Helper()
			s.let = make(chan struct{})
			answered.Store(0)
			for _, p := range peers {
				for i := range pageSlots {
					p.say(`{"type":"history","id":"%d","room":"r","after":0,"limit":1}`, i)
				}
			}
			var wg sync.WaitGroup
			for range gets {
				w := httptest.NewRecorder()
				answers = append(answers, w)
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/rooms/r/events", nil)
				wg.Go(func() { srv.Handler().ServeHTTP(w, r); answered.Add(1) })
			}
			synctest.Wait()
			if n := s.reading.Load(); n != maxPages {
				t.Errorf("%d pages are read at once, want %d", n, maxPages)
			}
			return answers, func() { close(s.let); wg.Wait() }
		}
		check := func(answers []*httptest.ResponseRecorder, status int, retry string, match func(frame.Server) bool) {
			t.Helper()
			for _, w := range answers {
				if w.Code != status || w.Header().Get("Retry-After") != retry {
					t.Fatalf("HTTP: %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
				}
			}
			for _, p := range peers {
				for range pageSlots {
					if f := p.until(func(f frame.Server) bool { return f.ID != "" }); !match(f) {
						t.Fatalf("WebSocket: %+v", f)
					}
				}
			}
		}

		answers, wait := ask()
		time.Sleep(openTimeout)
		synctest.Wait()
		if n := answered.Load(); n < gets-maxPages {
			t.Errorf("%d of %d requests are answered while %d are stuck", n, gets, maxPages)
		}
		wait()
		check(answers, http.StatusServiceUnavailable, "1", func(f frame.Server) bool {
			return f.Type == frame.TypeError && string(f.Code) == `"unavailable"` && f.Retry
		})

		answers, wait = ask()
		wait()
		check(answers, http.StatusOK, "", func(f frame.Server) bool { return f.Type == frame.TypeEvents && len(f.Events) == 1 })
	})
}
