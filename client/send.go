package client

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// Sending is a message on its way.
type Sending struct {
	// Immutable.
	room, text, id string
	client         *Client
	done           chan struct{} // closed when accepted or err is set

	// Guarded by Client.mu.
	inFlight  bool
	sentAt    time.Time
	notBefore time.Time
	tries     int

	// Set before done is closed.
	accepted frame.Accepted
	err      error
}

// ID is the idempotency key.
func (s *Sending) ID() string { return s.id }

// Done is closed when the message was accepted or given up.
func (s *Sending) Done() <-chan struct{} { return s.done }

// Wait returns the outcome: *[frame.Error] where the server refused the message for good, [ErrNotJoined], [*StoppedError],
// [ErrEnded]. When ctx ends first the message is not sent again, and its outcome is unknown.
func (s *Sending) Wait(ctx context.Context) (frame.Accepted, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
		s.client.mu.Lock()
		s.client.finishLocked(s, context.Cause(ctx))
		s.client.mu.Unlock()
		s.client.signal()
		<-s.done
	}
	return s.accepted, s.err
}

// Send sends a message and waits until it is accepted. An empty id is replaced by a UUIDv7. See [Sending.Wait] for the
// errors.
func (c *Client) Send(ctx context.Context, room, text, id string) (frame.Accepted, error) {
	s, err := c.Submit(ctx, room, text, id)
	if err != nil {
		return frame.Accepted{}, err
	}
	return s.Wait(ctx)
}

// Submit queues a message and returns at once, or when there is a place in the queue. Messages of a room are sent in the
// order of Submit. The error is a *[frame.Error] for a message that no server takes.
func (c *Client) Submit(ctx context.Context, room, text, id string) (*Sending, error) {
	if id == "" {
		v7, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		id = v7.String()
	}
	if !frame.ValidID(id) {
		return nil, frame.Errorf(frame.BadRequest, "", "id must have 1 to %d characters", frame.MaxID)
	}
	if ferr := CheckText(text); ferr != nil {
		return nil, ferr
	}
	select {
	case c.places <- struct{}{}:
	case <-c.ended:
		return nil, c.endErr
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s, err := c.enqueue(room, text, id)
	if err != nil {
		<-c.places
		return nil, err
	}
	c.signal()
	return s, nil
}

// CheckText tells whether a server would take the text.
func CheckText(text string) *frame.Error {
	if !utf8.ValidString(text) {
		return frame.Errorf(frame.BadRequest, "", "text is not valid UTF-8")
	}
	return frame.CheckText("", text)
}

func (c *Client) enqueue(room, text, id string) (*Sending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endErr != nil {
		return nil, c.endErr
	}
	if c.rooms[room] == nil {
		return nil, ErrNotJoined
	}
	if slices.ContainsFunc(c.sends, func(o *Sending) bool { return o.id == id }) {
		return nil, frame.Errorf(frame.IDConflict, id, "a message with this id is on its way")
	}
	s := &Sending{client: c, room: room, text: text, id: id, done: make(chan struct{})}
	c.sends = append(c.sends, s)
	return s, nil
}

// finishLocked ends a send, once.
func (c *Client) finishLocked(s *Sending, err error) {
	i := slices.Index(c.sends, s)
	if i < 0 {
		return
	}
	c.sends = slices.Delete(c.sends, i, i+1)
	c.landLocked(s)
	s.err = err
	close(s.done)
	<-c.places
}

// landLocked takes a send off the wire.
func (c *Client) landLocked(s *Sending) {
	if !s.inFlight {
		return
	}
	s.inFlight = false
	c.inFlight--
	if r := c.rooms[s.room]; r != nil {
		r.inFlight--
	}
}

func (c *Client) failRoomLocked(room string, err error) {
	for _, s := range slices.Clone(c.sends) {
		if s.room == room {
			c.finishLocked(s, err)
		}
	}
}

func (c *Client) sendingLocked(id string) *Sending {
	for _, s := range c.sends {
		if s.id == id {
			return s
		}
	}
	return nil
}

// onAccepted takes an accepted frame; ok is false for one that nobody waits for.
func (c *Client) onAccepted(a frame.Accepted) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sendingLocked(a.ID)
	if s == nil || a.Room != s.room || a.Seq < 1 {
		return false
	}
	s.accepted = a
	c.finishLocked(s, nil)
	c.signal()
	return true
}

// onSendError takes the refusal of a send; sent is nil where the id is not that of one, and refused is false where the
// send is tried again.
func (c *Client) onSendError(e *frame.Error, now time.Time) (sent *Sending, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sendingLocked(e.ID)
	if s == nil || !s.inFlight {
		return nil, false
	}
	c.signal()
	if !e.Retry {
		c.finishLocked(s, e)
		return s, true
	}
	c.landLocked(s)
	if e.Code == frame.RateLimited {
		c.bucket.empty(now)
	}
	s.tries++
	s.notBefore = now.Add(pause(e, s.tries))
	if r := c.rooms[s.room]; r != nil {
		r.holding = true
	}
	return s, false
}

// nextSendLocked picks the next send that may go out, or tells when there may be one.
func (c *Client) nextSendLocked(now time.Time, due *time.Time) *Sending {
	if c.inFlight >= c.opts.InFlight {
		return nil
	}
	var waiting map[string]bool // rooms with an earlier send that must go first
	for _, s := range c.sends {
		if s.inFlight || waiting[s.room] {
			continue
		}
		r := c.rooms[s.room]
		switch {
		case r == nil || !r.joined, r.holding && r.inFlight > 0:
		case now.Before(s.notBefore):
			earlier(due, s.notBefore)
		default:
			at, ok := c.bucket.take(now)
			if !ok {
				earlier(due, at)
				return nil
			}
			r.holding = false
			return s
		}
		if waiting == nil {
			waiting = make(map[string]bool)
		}
		waiting[s.room] = true
	}
	return nil
}

// earlier moves *due to at where at comes first. The zero time is never.
func earlier(due *time.Time, at time.Time) {
	if due.IsZero() || at.Before(*due) {
		*due = at
	}
}
