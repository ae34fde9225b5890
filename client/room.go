package client

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// errHole ends a connection whose stream stays broken after joining again: the reconnect's backoff keeps the client from
// asking in a circle.
var errHole = errors.New("the server leaves out events of a room")

// maxIdleJoins is how often a room is joined again on one connection without a new event in between.
const maxIdleJoins = 2

// room is what the client knows of a joined room. All fields are guarded by Client.mu.
type room struct {
	name string

	// Kept over reconnects.
	epoch string
	last  int64 // the last seq that was handed on
	known bool  // last means something; otherwise the next join asks for the last 50

	// Of this connection.
	joined     bool
	joinID     string // of the join that is not answered yet; empty: none
	joinDue    bool
	joinAt     time.Time // not before
	joinSent   time.Time
	joinTries  int
	head       int64 // as the last joined told
	idleJoins  int   // joins since the last new event
	headsSince bool  // a heads frame came since the last new event
	inFlight   int
	holding    bool // a send was refused for a while: nothing more goes out until all that is on the wire is answered
}

// Join keeps the client in a room: it joins now, or when there is a connection, and after each reconnect from the last
// event that it has. after is the last seq that the caller has; nil: the last 50 events, 0: from the start. Joining a
// room again does nothing unless after is given.
func (c *Client) Join(name string, after *int64) error {
	if !frame.ValidRoom(name) {
		return fmt.Errorf("room must be 1 to %d of letters, digits, '.', '_', '-'", frame.MaxRoom)
	}
	if after != nil && *after < 0 {
		return errors.New("after must not be negative")
	}
	c.mu.Lock()
	r := c.rooms[name]
	if r == nil || after != nil {
		if r == nil {
			r = &room{name: name}
			c.rooms[name] = r
		}
		if r.known = after != nil; r.known {
			r.last = *after
		}
		r.epoch, r.joinDue, r.joinID = "", true, ""
	}
	c.mu.Unlock()
	c.signal()
	return nil
}

// Leave leaves a room. Sends to it that are not accepted yet fail with [ErrNotJoined].
func (c *Client) Leave(name string) {
	c.mu.Lock()
	if r := c.rooms[name]; r != nil {
		delete(c.rooms, name)
		if c.connected && (r.joined || r.joinID != "") {
			c.leaves = append(c.leaves, name)
		}
		c.failRoomLocked(name, ErrNotJoined)
	}
	c.mu.Unlock()
	c.signal()
}

// Typing tells a room that the user types. It is dropped while there is no connection.
func (c *Client) Typing(name string) {
	c.mu.Lock()
	if r := c.rooms[name]; r != nil && r.joined && len(c.typing) < 8 {
		c.typing = append(c.typing, name)
	}
	c.mu.Unlock()
	c.signal()
}

// Last returns the seq of the last event that was handed on, and the epoch that it belongs to.
func (c *Client) Last(name string) (seq int64, epoch string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[name]
	if r == nil || !r.known {
		return 0, "", false
	}
	return r.last, r.epoch, true
}

// joinFrameLocked makes the join that is due.
func (r *room) joinFrameLocked(now time.Time) frame.Client {
	r.joinDue, r.joined, r.joinID, r.joinSent = false, false, uuid.NewString(), now
	j := frame.Client{Type: frame.TypeJoin, ID: r.joinID, Room: r.name, Epoch: r.epoch}
	if r.known {
		last := r.last
		j.After = &last
	}
	return j
}

// disconnectLocked forgets what belongs to a connection. Every room is joined on the next one.
func (r *room) disconnectLocked() {
	*r = room{name: r.name, epoch: r.epoch, last: r.last, known: r.known, joinDue: true}
}

// onJoined takes the answer to a join. ok is false for one that is not waited for.
func (c *Client) onJoined(j *frame.Joined) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[j.Room]
	if r == nil || r.joinID == "" || j.ID != r.joinID {
		return false
	}
	j.Head, j.Stored = max(0, j.Head), max(0, j.Stored)
	if r.epoch != "" && j.Epoch != r.epoch {
		j.Reset = true
	}
	if !r.known || j.Reset {
		// The last 50 follow; with the place of the first one fixed, a hole at the start is seen too.
		r.last, r.known = max(0, j.Head-frame.DefaultTail), true
	}
	r.epoch, r.head = j.Epoch, j.Head
	r.joined, r.joinID, r.joinTries = true, "", 0
	return true
}

// rejoinLocked asks for what is missing, unless a join is under way.
func (r *room) rejoinLocked() error {
	if r.joinDue || r.joinID != "" {
		return nil
	}
	if r.idleJoins++; r.idleJoins > maxIdleJoins {
		return fmt.Errorf("%w: nothing follows %d of %s", errHole, r.last, r.name)
	}
	r.joinDue = true
	return nil
}

// applyEvents returns the events to hand on, as indices into evs: those that follow the last one. A hole makes the
// client join again.
func (c *Client) applyEvents(name string, evs []frame.Event) (from, to int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[name]
	if r == nil || !r.known || (!r.joined && r.joinID == "") {
		return 0, 0, nil
	}
	for from < len(evs) && evs[from].Seq <= r.last {
		from++
	}
	for to = from; to < len(evs) && r.last < math.MaxInt64 && evs[to].Seq == r.last+1; to++ {
		r.last++
	}
	if to > from {
		r.idleJoins, r.headsSince = 0, false
	}
	for _, e := range evs[to:] {
		if e.Seq > r.last {
			err = r.rejoinLocked()
			c.signal()
			break
		}
	}
	return from, to, err
}

// onHeads joins again where the client is behind, but lets a long replay go on that still brings events.
func (c *Client) onHeads(heads map[string]int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, head := range heads {
		r := c.rooms[name]
		if r == nil || !r.joined || head <= r.last {
			continue
		}
		replaying := r.last < r.head && !r.headsSince
		r.headsSince = true
		if replaying {
			continue
		}
		if err := r.rejoinLocked(); err != nil {
			return err
		}
		c.signal()
	}
	return nil
}

// onJoinError takes the refusal of a join; ok is false where the id is not that of one.
func (c *Client) onJoinError(e *frame.Error, now time.Time) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, r := range c.rooms {
		if r.joinID == "" || r.joinID != e.ID {
			continue
		}
		r.joinID = ""
		if e.Retry {
			r.joinTries++
			r.joinDue, r.joinAt = true, now.Add(pause(e, r.joinTries))
			c.signal()
			return true
		}
		delete(c.rooms, name)
		c.failRoomLocked(name, e)
		return true
	}
	return false
}

// pause is how long to wait after an error that may heal.
func pause(e *frame.Error, tries int) time.Duration {
	if e.RetryAfterMS > 0 {
		return time.Duration(min(e.RetryAfterMS, retryHintMax.Milliseconds())) * time.Millisecond
	}
	return resend(tries)
}
