package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

const (
	handshakeTimeout = 10 * time.Second // for the upgrade, and again for the welcome
	writeTimeout     = 10 * time.Second // for one frame
	partingTimeout   = time.Second      // for a polite close
	maxServerFrame   = 8 << 20

	shortestHeartbeat, longestHeartbeat = 50 * time.Millisecond, 10 * time.Minute
)

var (
	errSilent   = errors.New("the server is silent")
	errNoAnswer = errors.New("the server does not answer")
	errFrame    = errors.New("the server sent what is not chat.v1")
)

// conn is one connection from its dial to its end.
type conn struct {
	// Immutable.
	c      *Client
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Owned by the reading goroutine.
	silence  time.Duration // how long nothing may come; changed by welcome
	welcomed time.Time
	retryMS  *[2]int64
	writing  chan struct{} // closed when the writer has ended; nil before it began
}

// serve runs one connection to its end.
func (c *Client) serve(ctx context.Context) ending {
	ws, end := c.dial(ctx)
	if ws == nil {
		return end
	}
	k := &conn{c: c, ws: ws, silence: handshakeTimeout}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	// A read blocks until its deadline; this lets a stop, or a failed write, interrupt it.
	parted := make(chan struct{})
	stop := context.AfterFunc(k.ctx, func() {
		defer close(parted)
		k.part(ctx)
	})
	err := k.read()
	if stop() {
		close(parted)
	}
	k.cancel(err)
	<-parted
	_ = ws.Close()
	if k.writing != nil {
		<-k.writing
	}
	end = ending{err: context.Cause(k.ctx), retryMS: k.retryMS}
	if !k.welcomed.IsZero() {
		end.lived = time.Since(k.welcomed)
	}
	return end
}

// part closes politely where the caller ends the client, and at once where the connection is broken.
func (k *conn) part(ctx context.Context) {
	until := time.Now()
	if ctx.Err() != nil {
		until = until.Add(partingTimeout)
		_ = k.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), until)
	}
	_ = k.ws.SetReadDeadline(until)
}

// extend gives the server the time of two heartbeats more.
func (k *conn) extend() error {
	if k.ctx.Err() != nil {
		return nil // the deadline of parting stands
	}
	if err := k.ws.SetReadDeadline(time.Now().Add(k.silence)); err != nil {
		return err
	}
	if k.ctx.Err() != nil { // it came in between
		return k.ws.SetReadDeadline(time.Now())
	}
	return nil
}

// read says hello and reads until the connection ends. It returns why.
func (k *conn) read() error {
	k.ws.SetReadLimit(maxServerFrame)
	k.ws.SetPingHandler(func(data string) error {
		_ = k.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		return k.extend()
	})
	if err := k.extend(); err != nil {
		return err
	}
	o := &k.c.opts
	hello := frame.Client{Type: frame.TypeHello, Token: o.Token, Agent: o.Agent}
	if o.Token == "" {
		hello.Name = o.Name
	}
	if err := k.write(frame.Encode(hello)); err != nil {
		return err
	}
	for {
		kind, b, err := k.ws.ReadMessage()
		if err != nil {
			return k.readError(err)
		}
		if kind != websocket.TextMessage {
			return fmt.Errorf("%w: a binary frame", errFrame)
		}
		if o.OnFrame != nil {
			o.OnFrame(false, b)
		}
		if err := k.handle(b); err != nil {
			return err
		}
		// Before welcome, other frames do not win time.
		if !k.welcomed.IsZero() {
			if err := k.extend(); err != nil {
				return err
			}
		}
	}
}

func (k *conn) readError(err error) error {
	if cause := context.Cause(k.ctx); cause != nil {
		return cause
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return errSilent
	}
	return closeReason(err)
}

// write is called by the reading goroutine for the hello, and by the writer afterwards.
func (k *conn) write(b []byte) error {
	if k.c.opts.OnFrame != nil {
		k.c.opts.OnFrame(true, b)
	}
	if err := k.ws.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := k.ws.WriteMessage(websocket.TextMessage, b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// writeLoop writes what is due until the connection ends.
func (k *conn) writeLoop() {
	defer close(k.writing)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for k.ctx.Err() == nil {
		b, due, err := k.c.next(time.Now())
		if err == nil && b != nil {
			err = k.write(b)
		}
		if err != nil {
			k.cancel(err)
			return
		}
		if b != nil {
			continue
		}
		if due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Millisecond, time.Until(due)))
		}
		select {
		case <-k.c.wake:
		case <-timer.C:
		case <-k.ctx.Done():
		}
	}
}

// next returns the next frame to write, or when to look again; a zero time means when woken. The error is an answer that
// is overdue.
func (c *Client) next(now time.Time) (b []byte, due time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue := func(sentAt time.Time) bool {
		limit := sentAt.Add(c.opts.AnswerTimeout)
		earlier(&due, limit)
		return !now.Before(limit)
	}
	if len(c.leaves) > 0 {
		f := frame.Client{Type: frame.TypeLeave, Room: c.leaves[0]}
		c.leaves = c.leaves[1:]
		return frame.Encode(f), due, nil
	}
	for _, r := range c.rooms {
		switch {
		case r.joinDue && !now.Before(r.joinAt):
			return frame.Encode(r.joinFrameLocked(now)), due, nil
		case r.joinDue:
			earlier(&due, r.joinAt)
		case r.joinID != "" && overdue(r.joinSent):
			return nil, due, errNoAnswer
		}
	}
	for _, r := range c.requests {
		switch {
		case r.sent && overdue(r.sentAt):
			return nil, due, errNoAnswer
		case r.sent:
		case now.Before(r.notBefore):
			earlier(&due, r.notBefore)
		default:
			r.sent, r.sentAt = true, now
			return frame.Encode(r.frame), due, nil
		}
	}
	if len(c.typing) > 0 {
		f := frame.Client{Type: frame.TypeTyping, Room: c.typing[0]}
		c.typing = c.typing[1:]
		return frame.Encode(f), due, nil
	}
	for n, i := c.inFlight, 0; n > 0 && i < len(c.sends); i++ {
		if s := c.sends[i]; s.inFlight {
			n--
			if overdue(s.sentAt) {
				return nil, due, errNoAnswer
			}
		}
	}
	s := c.nextSendLocked(now, &due)
	if s == nil {
		return nil, due, nil
	}
	s.inFlight, s.sentAt = true, now
	c.inFlight++
	c.rooms[s.room].inFlight++
	return frame.Encode(frame.Client{Type: frame.TypeSend, ID: s.id, Room: s.room, Text: s.text}), due, nil
}

// decode reads a frame of a known type.
func decode[T any](b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %.200s", errFrame, bytes.ToValidUTF8([]byte(err.Error()), []byte("?")))
	}
	return v, nil
}
