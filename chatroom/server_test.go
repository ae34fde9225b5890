package chatroom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/migrations"
)

func TestMain(m *testing.M) {
	sim.Bound(50, 60)
	goleak.VerifyTestMain(m)
}

// nothingStored is the history before any persister ran; the outbox holds everything then.
type nothingStored struct{}

func (nothingStored) Page(context.Context, string, int64, int64, int) ([]events.MessageSent, error) {
	return nil, nil
}

func (nothingStored) Watermarks(context.Context, []string) (map[string]int64, error) { return nil, nil }

// serve runs a chat room over a store and returns it and its address.
func serve(tb testing.TB, s store.Store) (*Server, string) {
	tb.Helper()
	return serveRecent(tb, s, 64)
}

// serveRecent keeps so many recent events of a room.
func serveRecent(tb testing.TB, s store.Store, recent int) (*Server, string) {
	tb.Helper()
	return serveWith(tb, Options{Store: s, History: nothingStored{}, RecentEvents: recent})
}

func serveWith(tb testing.TB, o Options) (*Server, string) {
	tb.Helper()
	srv, err := New(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Run(ctx) })
	web := httptest.NewServer(srv.Handler())
	tb.Cleanup(func() {
		cancel()
		wg.Wait()
		web.Close()
	})
	return srv, "ws" + strings.TrimPrefix(web.URL, "http") + "/ws"
}

func sqliteStore(tb testing.TB) *store.SQLite {
	tb.Helper()
	return store.NewSQLite(dbtest.SQLite(tb, migrations.Chatroom))
}

// peer is a bare client that has joined room "r".
type peer struct {
	tb   testing.TB
	conn *websocket.Conn
	seen int64
}

func join(tb testing.TB, url, name string) *peer {
	tb.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	tb.Cleanup(func() { _ = conn.Close() })
	p := &peer{tb: tb, conn: conn}
	p.say(`{"type":"hello","name":%q}`, name)
	p.say(`{"type":"join","room":"r","after":0}`)
	p.until(func(f frame.Server) bool { return f.Type == frame.TypeJoined })
	return p
}

func (p *peer) say(format string, args ...any) {
	p.tb.Helper()
	if err := p.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *peer) until(match func(frame.Server) bool) frame.Server {
	p.tb.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		_, b, err := p.conn.ReadMessage()
		if err != nil {
			p.tb.Fatal(err)
		}
		var f frame.Server
		if err := json.Unmarshal(b, &f); err != nil {
			p.tb.Fatal(err)
		}
		if match(f) {
			return f
		}
	}
}

// sees reads the room's events from the first one to seq until, each once and in order.
func (p *peer) sees(until int64) {
	p.tb.Helper()
	for after := p.seen; after < until; p.seen = after {
		f := p.until(func(f frame.Server) bool { return f.Type == frame.TypeEvents })
		for _, e := range f.Events {
			if e.Seq != after+1 {
				p.tb.Fatalf("got seq %d after %d", e.Seq, after)
			}
			after = e.Seq
		}
	}
}

// Two replicas on one database between which everything is lost: readers of the one still see what the other accepted.
func TestALostFanoutIsRepaired(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	_, urlA := serve(t, s)
	_, urlB := serve(t, s)
	a, b := join(t, urlA, "ann"), join(t, urlB, "bob")
	for i := range 3 {
		a.say(`{"type":"send","id":"%d","room":"r","text":"x"}`, i)
	}
	b.sees(3) // the last event of a quiet room leaves no hole that would tell
	b.say(`{"type":"send","id":"1","room":"r","text":"y"}`)
	a.sees(4)
}

// The fan-out brings events above a hole first, and what is in the hole never: it is read from the database.
func TestAHoleIsFilledFromTheDatabase(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	srv, url := serve(t, s)
	bob := join(t, url, "bob")
	now := time.Now().UTC().Truncate(time.Millisecond)
	var sends []store.Send
	for i := range 100 {
		sends = append(sends, store.Send{Sender: "ann", ID: fmt.Sprint(i), Room: "r", Text: "x", SentAt: now})
	}
	receipts, err := s.Accept(t.Context(), sends)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{99, 50, 98, 50} {
		body, err := events.MessageSent{
			Room: "r", Seq: receipts[i].Seq, Kind: events.KindMessage, ID: sends[i].ID, From: "ann", Text: "x", SentAt: now,
		}.Encode("")
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.HandleFanout(e); err != nil {
			t.Fatal(err)
		}
	}
	bob.sees(100)
}

// A log so short that every reader falls off it all the time: pages from the database and live events take turns, and
// each event still comes once and in order.
func TestCatchingUpTakesTurnsWithLiveEvents(t *testing.T) {
	t.Parallel()
	const events, readers = 6000, 8
	_, url := serveRecent(t, sqliteStore(t), 2)
	ann := join(t, url, "ann")
	var wg sync.WaitGroup
	for i := range readers {
		p := join(t, url, fmt.Sprint("reader-", i))
		wg.Go(func() { p.sees(events) })
	}
	wg.Go(func() { ann.sees(events) })
	for i := range events {
		ann.say(`{"type":"send","id":"%d","room":"r","text":"x"}`, i)
	}
	wg.Wait()
}

// A page from the databases goes out in frames of a bounded size, whatever its texts: one write has a deadline, and a slow
// reader must be able to meet it.
func TestPagesGoOutInBoundedFrames(t *testing.T) {
	t.Parallel()
	c := cursor{}
	for range 200 {
		c.page = append(c.page, make([]byte, 20<<10))
	}
	total := 0
	for len(c.page) > 0 {
		part := c.take()
		size := 0
		for _, e := range part {
			size += len(e)
		}
		if total += len(part); len(part) == 0 || size > frameBytes+20<<10 {
			t.Fatalf("a frame of %d events, %d bytes", len(part), size)
		}
	}
	if total != 200 {
		t.Errorf("%d events, want 200", total)
	}
}

// historyDown is what a chat room sees while no persister answers; the outbox of emptied holds nothing any more.
type historyDown struct{ nothingStored }

func (historyDown) Page(context.Context, string, int64, int64, int) ([]events.MessageSent, error) {
	return nil, errors.New("no persister answers")
}

type emptied struct{ store.Store }

func (emptied) Tail(context.Context, string, int64, int64, int) ([]events.MessageSent, error) {
	return nil, nil
}

// Who leaves, or joins elsewhere, ends the reads that were under way for him, also while they wait for the history.
func TestLeaveEndsCatchingUp(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	sends := []store.Send{{Sender: "x", ID: "1", Room: "r", Text: "x", SentAt: time.Now()}}
	if _, err := s.Accept(t.Context(), sends); err != nil {
		t.Fatal(err)
	}
	srv, url := serveWith(t, Options{Store: emptied{s}, History: historyDown{}})
	ann := join(t, url, "ann")
	for range 100 {
		ann.say(`{"type":"leave","room":"r"}`)
		ann.say(`{"type":"join","room":"r","after":0}`)
		ann.until(func(f frame.Server) bool { return f.Type == frame.TypeJoined })
	}
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if n := srv.catchingUp.Load(); n <= 1 {
			tick.Stop()
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%d reads go on for one subscription", n)
		}
	}
}

// scripted is a store whose Accept can be stopped and spoilt.
type scripted struct {
	store.Store
	accept func(ctx context.Context, sends []store.Send) ([]store.Receipt, error)
}

func (s *scripted) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	return s.accept(ctx, sends)
}

// A commit whose answer was lost is asked about with the same ids: the sender hears accepted, once, and the room sees the
// message, once.
func TestAnUnknownOutcomeIsAskedAboutAgain(t *testing.T) {
	t.Parallel()
	under := sqliteStore(t)
	tries := 0
	_, url := serve(t, &scripted{under, func(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
		receipts, err := under.Accept(ctx, sends)
		if tries++; tries <= 2 && err == nil {
			return nil, fmt.Errorf("accept: %w", store.ErrUnknownOutcome)
		}
		return receipts, err
	}})
	ann := join(t, url, "ann")
	ann.say(`{"type":"send","id":"1","room":"r","text":"x"}`)
	var accepted, shown int
	for accepted == 0 || shown == 0 {
		f := ann.until(func(f frame.Server) bool { return f.ID == "1" || f.Type == frame.TypeEvents })
		if f.Type == frame.TypeEvents {
			shown++
			continue
		}
		if accepted++; f.Type != frame.TypeAccepted || f.Duplicate || f.Seq != 1 {
			t.Fatalf("got %+v", f)
		}
	}
	ann.say(`{"type":"send","id":"2","room":"r","text":"x"}`)
	if f := ann.until(func(f frame.Server) bool { return f.ID == "2" }); f.Seq != 2 {
		t.Errorf("next: %+v", f)
	}
}

// What arrives while a commit is under way goes into the next one together, and the first one did not wait for it.
func TestBatchesGrowWithTheCommit(t *testing.T) {
	t.Parallel()
	under := sqliteStore(t)
	sizes := make(chan int, 100)
	first := make(chan struct{})
	_, url := serve(t, &scripted{under, func(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
		sizes <- len(sends)
		if sends[0].ID == "first" {
			<-first
		}
		return under.Accept(ctx, sends)
	}})
	ann := join(t, url, "ann")
	ann.say(`{"type":"send","id":"first","room":"r","text":"x"}`)
	if n := <-sizes; n != 1 {
		t.Errorf("the first batch has %d", n)
	}
	for i := range 40 {
		ann.say(`{"type":"send","id":"%d","room":"r","text":"x"}`, i)
	}
	// An answer to a later request shows that the server has read the sends before it.
	ann.say(`{"type":"history","id":"done","room":"r","after":0,"limit":1}`)
	ann.until(func(f frame.Server) bool { return f.ID == "done" })
	close(first)
	if n := <-sizes; n != 40 {
		t.Errorf("the second batch has %d, want 40", n)
	}
	ann.sees(41)
}

func TestADatabaseThatRefusesIsUnavailable(t *testing.T) {
	t.Parallel()
	_, url := serve(t, &scripted{sqliteStore(t), func(context.Context, []store.Send) ([]store.Receipt, error) {
		return nil, errors.New("connection refused")
	}})
	ann := join(t, url, "ann")
	ann.say(`{"type":"send","id":"1","room":"r","text":"x"}`)
	f := ann.until(func(f frame.Server) bool { return f.ID == "1" })
	if f.Type != frame.TypeError || string(f.Code) != `"unavailable"` || !f.Retry || strings.Contains(f.Message, "refused") {
		t.Errorf("got %+v", f)
	}
}
