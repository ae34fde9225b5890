package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// steady is how long a connection must have lived for the backoff to begin anew: a server that takes connections only to
// cut them is approached more and more slowly, like one that refuses them.
const steady = 5 * time.Second

// ending is why a connection ended.
type ending struct {
	err     error
	retryMS *[2]int64     // from a bye
	wait    time.Duration // at least, from a Retry-After
	lived   time.Duration // from welcome on
}

// Run connects, and connects again, until ctx ends (nil), or the server asks to stop (*[StoppedError]). It may be called
// once. On return every unfinished send and request has failed; see [ErrEnded].
func (c *Client) Run(ctx context.Context) error {
	err := c.run(ctx)
	c.end(err)
	return err
}

func (c *Client) run(ctx context.Context) error {
	for failed := 0; ; failed++ {
		end := c.serve(ctx)
		c.disconnect()
		if ctx.Err() != nil {
			return nil
		}
		var stopped *StoppedError
		if errors.As(end.err, &stopped) {
			c.tellState(State{Err: stopped})
			return stopped
		}
		if end.lived >= steady {
			failed = 0
		}
		wait := max(end.wait, c.opts.Backoff(failed))
		if end.retryMS != nil {
			wait = inside(*end.retryMS)
		}
		c.log.Info("disconnected", "error", end.err, "retry_in", wait)
		c.tellState(State{Err: end.err, RetryIn: wait})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (c *Client) tellState(s State) {
	if c.opts.OnState != nil {
		c.opts.OnState(s)
	}
}

// disconnect forgets what belongs to a connection. What was in flight goes out again on the next one.
func (c *Client) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = false
	c.leaves, c.typing, c.inFlight = nil, nil, 0
	for _, r := range c.rooms {
		r.disconnectLocked()
	}
	for _, s := range c.sends {
		s.inFlight = false
	}
	for _, r := range c.requests {
		r.sent = false
	}
}

// end fails what is left.
func (c *Client) end(err error) {
	if err == nil {
		err = ErrEnded
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endErr = err
	for len(c.sends) > 0 {
		c.finishLocked(c.sends[len(c.sends)-1], err)
	}
	for id, r := range c.requests {
		delete(c.requests, id)
		r.err = err
		close(r.done)
	}
	close(c.ended)
}

// dial opens the connection.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, ending) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, resp, err := c.dialer.DialContext(ctx, c.url, nil)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }() // of a failed handshake; it is in memory
	}
	if err == nil {
		return conn, ending{}
	}
	if resp == nil || !errors.Is(err, websocket.ErrBadHandshake) {
		return nil, ending{err: fmt.Errorf("connect: %w", err)}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, ending{err: &StoppedError{Message: "the server refused the connection: " + resp.Status}}
	}
	end := ending{err: fmt.Errorf("connect: the server answered %s and no WebSocket", resp.Status)}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		end.wait = min(time.Duration(min(s, 3600))*time.Second, retryHintMax)
	}
	return nil, end
}

// stopCode tells whether a close code asks to stay away.
func stopCode(code int) bool { return code >= 4100 && code <= 4199 }

// closeReason turns the end of reading into an error for people.
func closeReason(err error) error {
	var ce *websocket.CloseError
	if !errors.As(err, &ce) {
		return err
	}
	if stopCode(ce.Code) {
		return &StoppedError{Code: ce.Code, Message: closeText(ce)}
	}
	switch ce.Code {
	case websocket.CloseAbnormalClosure:
		return errors.New("the connection broke")
	case frame.CloseShutdown:
		return errors.New("the server is shutting down")
	}
	return fmt.Errorf("the server closed the connection: %s (code %d)", closeText(ce), ce.Code)
}

func closeText(ce *websocket.CloseError) string {
	if ce.Text != "" {
		return ce.Text
	}
	switch ce.Code {
	case frame.CloseBadToken:
		return "bad token"
	case frame.CloseBadHello:
		return "bad hello"
	case frame.CloseBanned:
		return "banned"
	case frame.CloseFlood:
		return "flood"
	}
	return "no reason given"
}
