package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// handle acts on one frame of the server. Unknown types are ignored; a frame of a known type that cannot be read ends the
// connection, since an answer may be lost with it.
func (k *conn) handle(b []byte) error {
	head, err := decode[struct {
		Type string `json:"type"`
	}](b)
	if err != nil {
		return err
	}
	switch head.Type {
	case frame.TypeWelcome:
		return k.handleWelcome(b)
	case frame.TypeBye:
		return k.handleBye(b)
	case frame.TypeError:
		return k.handleError(b)
	}
	if k.welcomed.IsZero() {
		return nil
	}
	switch head.Type {
	case frame.TypeJoined:
		return k.c.handleJoined(b)
	case frame.TypeEvents:
		return k.c.handleEvents(b)
	case frame.TypeAccepted:
		return k.c.handleAccepted(b)
	case frame.TypeHeads:
		f, err := decode[frame.Heads](b)
		if err != nil {
			return err
		}
		return k.c.onHeads(f.Rooms)
	case frame.TypeStored, frame.TypePresence, frame.TypeTyping:
		return k.c.handleNews(head.Type, b)
	}
	return nil
}

// handleWelcome begins the work: the writer joins the rooms and sends what waits.
func (k *conn) handleWelcome(b []byte) error {
	w, err := decode[frame.Welcome](b)
	if err != nil || !k.welcomed.IsZero() {
		return err
	}
	if w.Protocol != "" && w.Protocol != frame.Protocol {
		return &StoppedError{Message: fmt.Sprintf("the server speaks %.40q, this client %s", w.Protocol, frame.Protocol)}
	}
	heartbeat := 25 * time.Second
	if w.HeartbeatMS > 0 {
		heartbeat = time.Duration(min(w.HeartbeatMS, longestHeartbeat.Milliseconds())) * time.Millisecond
	}
	k.silence = 2 * max(heartbeat, shortestHeartbeat)
	k.welcomed = time.Now()
	c := k.c
	c.mu.Lock()
	c.connected = true
	c.limits = w.Limits
	c.bucket = newBucket(w.Limits.RatePerS, w.Limits.Burst, k.welcomed)
	c.mu.Unlock()
	c.log.Info("connected", "session", w.Session, "server", w.Server)
	c.tellState(State{Connected: true, User: w.User})
	k.writing = make(chan struct{})
	go k.writeLoop()
	return nil
}

func (k *conn) handleBye(b []byte) error {
	f, err := decode[frame.Bye](b)
	if err != nil {
		return err
	}
	k.retryMS = f.RetryMS
	if stopCode(f.Code) {
		return &StoppedError{Code: f.Code, Message: f.Message}
	}
	return fmt.Errorf("the server said bye: %s (code %d)", f.Message, f.Code)
}

func (k *conn) handleError(b []byte) error {
	e, err := decode[frame.Error](b)
	if err != nil {
		return err
	}
	c, now := k.c, time.Now()
	if e.ID != "" {
		if s, refused := c.onSendError(&e, now); s != nil {
			if refused && c.opts.OnRefused != nil {
				c.opts.OnRefused(s.room, s.id, &e)
			}
			return nil
		}
		if c.onRequestError(&e, now) {
			return nil
		}
		if c.onJoinError(&e, now) && e.Retry {
			return nil
		}
	}
	if c.opts.OnError != nil {
		c.opts.OnError(&e)
	}
	return nil
}

func (c *Client) handleJoined(b []byte) error {
	j, err := decode[frame.Joined](b)
	if err != nil {
		return err
	}
	if !c.onJoined(&j) {
		return nil
	}
	c.signal() // sends may have waited for it
	if c.opts.OnJoined != nil {
		c.opts.OnJoined(j)
	}
	return nil
}

func (c *Client) handleEvents(b []byte) error {
	f, err := decode[frame.Events](b)
	if err != nil {
		return err
	}
	if f.ID != "" {
		c.onPage(f)
		return nil
	}
	from, to, err := c.applyEvents(f.Room, f.Events)
	if from == to {
		return err
	}
	var raw []json.RawMessage
	if c.opts.OnRawEvent != nil {
		wire, err := decode[struct {
			Events []json.RawMessage `json:"events"`
		}](b)
		if err != nil || len(wire.Events) != len(f.Events) {
			return errors.Join(errFrame, err)
		}
		raw = wire.Events
	}
	for i := from; i < to; i++ {
		if raw != nil {
			c.opts.OnRawEvent(f.Room, raw[i])
		}
		if c.opts.OnEvent != nil {
			c.opts.OnEvent(f.Room, f.Events[i])
		}
	}
	return err
}

func (c *Client) handleAccepted(b []byte) error {
	a, err := decode[frame.Accepted](b)
	if err != nil {
		return err
	}
	if c.onAccepted(a) && c.opts.OnAccepted != nil {
		c.opts.OnAccepted(a)
	}
	return nil
}

// handleNews takes the frames that change nothing here.
func (c *Client) handleNews(kind string, b []byte) error {
	switch kind {
	case frame.TypeStored:
		f, err := decode[frame.Stored](b)
		if err == nil && c.opts.OnStored != nil {
			c.opts.OnStored(f.Room, f.Seq)
		}
		return err
	case frame.TypePresence:
		f, err := decode[frame.Presence](b)
		if err == nil && c.opts.OnPresence != nil {
			c.opts.OnPresence(f)
		}
		return err
	default:
		f, err := decode[frame.Typing](b)
		if err == nil && c.opts.OnTyping != nil {
			c.opts.OnTyping(f.Room, f.From)
		}
		return err
	}
}
