package client

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// request is a history request that waits for its page.
type request struct {
	frame frame.Client
	done  chan struct{} // closed when page or err is set

	// Guarded by Client.mu.
	sent      bool
	sentAt    time.Time
	notBefore time.Time
	tries     int

	// Set before done is closed.
	page frame.Events
	err  error
}

// History asks for a page of a room, in seq order: at most limit (1 to 200) events above after, or the last ones below
// before; one of the two must be nil, and a nil pair asks for the newest. complete: nothing follows in that direction.
// It needs no join. It is asked again after a reconnect, until ctx ends.
func (c *Client) History(ctx context.Context, room string, after, before *int64, limit int) (events []frame.Event, complete bool, err error) {
	if !frame.ValidRoom(room) {
		return nil, false, errors.New("not a room's name")
	}
	if after == nil && before == nil {
		newest := int64(1) << 62
		before = &newest
	}
	if ferr := frame.CheckPage("", after, before, limit); ferr != nil {
		return nil, false, ferr
	}
	id := uuid.NewString()
	r := &request{
		frame: frame.Client{Type: frame.TypeHistory, ID: id, Room: room, After: after, Before: before, Limit: &limit},
		done:  make(chan struct{}),
	}
	c.mu.Lock()
	if c.endErr != nil {
		c.mu.Unlock()
		return nil, false, c.endErr
	}
	c.requests[id] = r
	c.mu.Unlock()
	c.signal()
	select {
	case <-r.done:
		return r.page.Events, r.page.Complete != nil && *r.page.Complete, r.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.requests, id)
		c.mu.Unlock()
		return nil, false, context.Cause(ctx)
	}
}

// onPage takes an events frame that carries an id.
func (c *Client) onPage(page frame.Events) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.requests[page.ID]; r != nil && r.sent && page.Room == r.frame.Room {
		delete(c.requests, page.ID)
		r.page = page
		close(r.done)
	}
}

// onRequestError takes the refusal of a history request; ok is false where the id is not that of one.
func (c *Client) onRequestError(e *frame.Error, now time.Time) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests[e.ID]
	if r == nil || !r.sent {
		return false
	}
	if e.Retry {
		r.tries++
		r.sent, r.notBefore = false, now.Add(pause(e, r.tries))
		c.signal()
		return true
	}
	delete(c.requests, e.ID)
	r.err = e
	close(r.done)
	return true
}
