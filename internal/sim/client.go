package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"pgregory.net/rapid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/events"
)

// Truth is what a [Client] is measured with.
type Truth struct {
	Log    func(room string) []events.MessageSent // all that was ever committed, by seq
	Stored func(room string) int64                // through which seq it is stored without a hole
}

// Client is a client of the chat room that follows one room and sends to it. It judges what it is told when it is told:
// every seq once, in order, without a gap from where it joined, as it was committed; accepted only what is committed;
// stored only what is stored and was seen. Its methods return at once. Call Wait before the bubble ends.
type Client struct {
	// Immutable.
	name, room string
	truth      Truth
	wg         sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	conn      *websocket.Conn
	say       chan any
	asked     map[string]*int64 // joins on this connection without an answer, with their after
	joined    bool
	left      bool           // leave was said; events may still be on their way
	seen      int64          // the last seq
	fresh     bool           // has never joined
	stored    int64          // the mark last told, for this join
	sends     map[string]int // by id: the length of the log when it was first sent
	accepted  map[string]int64
	lastAsked int
	pause     chan struct{} // not nil while it does not read
	every     time.Duration // between two reads
	breaches  []breach
}

type breach struct{ promise, detail string }

// The promises that a client judges.
const (
	promiseFrames   = "a client is told only what is so"
	promiseOrder    = "a reader sees every seq once, in order, without a gap"
	promiseAccepted = "accepted means committed, once, behind what was committed before"
	promiseReset    = "a join after what was seen is not reset"
)

// NewClient returns one that is not connected.
func NewClient(name, room string, truth Truth) *Client {
	return &Client{
		name: name, room: room, truth: truth, fresh: true, sends: map[string]int{}, accepted: map[string]int64{},
	}
}

// Connect dials in the background; a connection that there is already is cut.
func (c *Client) Connect(l *Listener) {
	c.Cut()
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
		conn, resp, err := d.DialContext(ctx, "ws://chat/ws", http.Header{})
		if err != nil {
			return
		}
		_ = resp.Body.Close()
		say := make(chan any, 4096)
		c.mu.Lock()
		if c.conn != nil { // connected twice at once
			c.mu.Unlock()
			_ = conn.Close()
			return
		}
		c.conn, c.say, c.asked, c.joined, c.left = conn, say, map[string]*int64{}, false, false
		c.mu.Unlock()
		say <- map[string]any{"type": "hello", "name": c.name}
		gone := make(chan struct{})
		c.wg.Go(func() {
			for {
				select {
				case v := <-say:
					if conn.WriteJSON(v) != nil {
						_ = conn.Close()
						return
					}
				case <-gone:
					return
				}
			}
		})
		c.read(conn)
		close(gone)
	})
}

func (c *Client) read(conn *websocket.Conn) {
	defer conn.Close()
	for {
		_, b, err := conn.ReadMessage()
		c.mu.Lock()
		if c.conn != conn {
			c.mu.Unlock()
			return
		}
		if err != nil {
			c.conn, c.say = nil, nil
			c.mu.Unlock()
			return
		}
		c.take(b)
		pause, every := c.pause, c.every
		c.mu.Unlock()
		if every > 0 {
			<-time.After(every)
		}
		if pause != nil {
			<-pause
		}
	}
}

func (c *Client) breach(promise, format string, args ...any) {
	c.breaches = append(c.breaches, breach{promise, c.name + ": " + fmt.Sprintf(format, args...)})
}

// take judges a frame. mu is held.
func (c *Client) take(b []byte) {
	var f struct {
		Type, ID  string
		Head, Seq int64
		Stored    int64
		Reset     bool
		Events    []frame.Event
		Rooms     map[string]int64
	}
	if err := json.Unmarshal(b, &f); err != nil {
		c.breach(promiseFrames, "not a frame: %v", err)
		return
	}
	log := c.truth.Log(c.room)
	switch f.Type {
	case frame.TypeJoined:
		after := c.asked[f.ID]
		delete(c.asked, f.ID)
		switch {
		case f.Head > int64(len(log)):
			c.breach(promiseFrames, "joined at head %d of %d", f.Head, len(log))
		case after != nil && f.Reset:
			c.breach(promiseReset, "reset by a join after %d at head %d", *after, f.Head)
		case after != nil:
			c.seen = *after
		default:
			c.seen = max(0, f.Head-frame.DefaultTail)
		}
		if f.Stored > c.truth.Stored(c.room) {
			c.breach(promiseFrames, "joined with stored %d of %d", f.Stored, c.truth.Stored(c.room))
		}
		c.joined, c.left, c.fresh, c.stored = true, false, false, f.Stored
	case frame.TypeEvents:
		for _, e := range f.Events {
			c.event(log, e)
		}
	case frame.TypeStored:
		switch mark := c.truth.Stored(c.room); {
		case c.left:
		case f.Seq > mark:
			c.breach(promiseFrames, "told that %d is stored, of %d", f.Seq, mark)
		case f.Seq > c.seen:
			c.breach(promiseFrames, "told that %d is stored, has seen %d", f.Seq, c.seen)
		case f.Seq <= c.stored:
			c.breach(promiseFrames, "told that %d is stored, after %d", f.Seq, c.stored)
		}
		c.stored = f.Seq
	case frame.TypeHeads:
		if head := f.Rooms[c.room]; head > int64(len(log)) {
			c.breach(promiseFrames, "told of head %d of %d", head, len(log))
		}
	case frame.TypeAccepted:
		switch {
		case f.Seq < 1 || f.Seq > int64(len(log)) || log[f.Seq-1].ID != f.ID || log[f.Seq-1].From != c.name:
			c.breach(promiseAccepted, "%s is accepted as %d, and not committed", f.ID, f.Seq)
		case f.Seq <= int64(c.sends[f.ID]):
			c.breach(promiseAccepted, "%s is accepted as %d, and %d was committed before it was sent", f.ID, f.Seq, c.sends[f.ID])
		case c.accepted[f.ID] != 0 && c.accepted[f.ID] != f.Seq:
			c.breach(promiseAccepted, "%s is accepted as %d and as %d", f.ID, c.accepted[f.ID], f.Seq)
		}
		c.accepted[f.ID] = f.Seq
	case frame.TypeError:
		delete(c.asked, f.ID) // a join may be refused, and is tried again
	}
}

func (c *Client) event(log []events.MessageSent, e frame.Event) {
	switch {
	case c.left:
		return
	case !c.joined:
		c.breach(promiseOrder, "event %d before the answer to the join", e.Seq)
	case e.Seq != c.seen+1:
		c.breach(promiseOrder, "event %d after %d", e.Seq, c.seen)
	case e.Seq > int64(len(log)):
		c.breach(promiseOrder, "event %d, and %d are committed", e.Seq, len(log))
	case log[e.Seq-1].ID != e.ID || log[e.Seq-1].From != e.From || log[e.Seq-1].Text != e.Text:
		c.breach(promiseOrder, "event %d is %s of %s, want %s of %s", e.Seq, e.ID, e.From, log[e.Seq-1].ID, log[e.Seq-1].From)
	}
	c.seen = e.Seq
}

// Join joins after what it has seen, or, the first time, as new.
func (c *Client) Join() { c.join(false) }

// JoinAnew joins as one that knows nothing.
func (c *Client) JoinAnew() { c.join(true) }

func (c *Client) join(anew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || len(c.asked) > 0 {
		return
	}
	c.lastAsked++
	id := fmt.Sprint("join ", c.lastAsked)
	v := map[string]any{"type": frame.TypeJoin, "id": id, "room": c.room}
	c.asked[id] = nil
	if !anew && !c.fresh && !c.joined { // who has joined cannot know what is on its way
		after := c.seen
		c.asked[id], v["after"] = &after, after
	}
	c.queue(v)
}

// Leave leaves.
func (c *Client) Leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.joined && len(c.asked) == 0 {
		c.left, c.joined = true, false
		c.queue(map[string]any{"type": frame.TypeLeave, "room": c.room})
	}
}

// Send sends a text under an id, the same text under the same id.
func (c *Client) Send(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again := c.sends[id]; !again {
		c.sends[id] = len(c.truth.Log(c.room))
	}
	c.queue(map[string]any{"type": frame.TypeSend, "id": id, "room": c.room, "text": "text of " + id})
}

// queue drops what has no room. mu is held.
func (c *Client) queue(v any) {
	select {
	case c.say <- v: // never, where it is not connected
	default:
	}
}

// Cut ends the connection where it stands, in the middle of a frame maybe.
func (c *Client) Cut() {
	c.mu.Lock()
	conn := c.conn
	c.conn, c.say = nil, nil
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	c.Read(0)
}

// Pause stops reading after the frame under way.
func (c *Client) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause == nil {
		c.pause = make(chan struct{})
	}
}

// Read reads on, with so much time between two frames.
func (c *Client) Read(every time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.every = every
	if c.pause != nil {
		close(c.pause)
		c.pause = nil
	}
}

// Check fails if a promise was broken. The details are in the log, so that rapid takes the same breach at another seq for
// the same failure.
func (c *Client) Check(t *rapid.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.breaches) > 0 {
		t.Log(c.breaches[0].detail)
		t.Fatal(c.breaches[0].promise)
	}
}

// State tells whether it is connected and has joined, the last seq that it has seen, and the stored mark last told.
func (c *Client) State() (connected, joined bool, seen, stored int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil, c.conn != nil && c.joined, c.seen, c.stored
}

// Unaccepted returns the ids that were sent and not accepted yet, in no order.
func (c *Client) Unaccepted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.sends {
		if c.accepted[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Wait cuts the connection and waits for the client's goroutines.
func (c *Client) Wait() {
	c.Cut()
	c.wg.Wait()
}
