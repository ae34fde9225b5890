package chatroom

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

const (
	// A frame of events carries at most this many, and about this many bytes.
	frameEvents = 200
	frameBytes  = 64 << 10
	// maxReason is what a close frame holds beside its code, in bytes.
	maxReason = 123
	// catchUpPage is how many events a reader who fell off the log takes from the databases at once.
	catchUpPage = 200
)

// writeLoop is the connection's only writer. It writes until flush is closed and nothing is queued, or a write fails.
func (s *session) writeLoop() {
	beat := time.NewTicker(s.srv.opts.Heartbeat)
	defer beat.Stop()
	w := &frameWriter{conn: s.conn.NetConn(), ctx: s.ctx, alive: func() { _ = s.extend() }}
	for {
		if err := s.writeQueued(w, beat.C); err != nil {
			s.cancel(err)
			s.discard()
			return
		}
		select {
		case <-s.wake:
		case <-beat.C:
			s.heartbeat(w)
			s.signal()
		case <-s.flush:
			if err := s.writeQueued(w, nil); err == nil {
				s.sayBye(w)
			}
			s.discard()
			return
		}
	}
}

// heartbeat appends a ping and the heads of the rooms that are joined.
func (s *session) heartbeat(w *frameWriter) {
	w.control(websocket.PingMessage, nil)
	s.mu.Lock()
	subs := make([]*subscription, 0, len(s.subs))
	for _, sub := range s.subs {
		subs = append(subs, sub)
	}
	s.mu.Unlock()
	if len(subs) == 0 {
		return
	}
	heads := make(map[string]int64, len(subs))
	for _, sub := range subs {
		heads[sub.room.name], _ = sub.room.marks()
	}
	w.text(frame.Encode(frame.Heads{Type: frame.TypeHeads, Rooms: heads}))
}

// turn is a subscription that has something to be written, for the cursor that it had when its turn was given. A join
// between the two has queued its own answer, and has listed the subscription again.
type turn struct {
	sub    *subscription
	cursor *cursor
}

// writeQueued writes what there is: the answers first, then from each room a frame at a time in turn, so that no room and
// no catching up keeps an answer, or the heartbeat, waiting for long.
func (s *session) writeQueued(w *frameWriter, beat <-chan time.Time) error {
	var turns []turn
	for {
		select {
		case <-beat:
			s.heartbeat(w)
		default:
		}
		turns = turns[:0]
		s.mu.Lock()
		replies, typing, pong := s.replies, s.typing, s.pong
		for _, sub := range s.dirty {
			sub.dirty = false
			turns = append(turns, turn{sub, sub.cursor})
		}
		s.replies, s.dirty, s.typing, s.pong = nil, s.dirty[:0], nil, nil
		s.mu.Unlock()
		if len(replies) == 0 && len(turns) == 0 && len(typing) == 0 && pong == nil {
			return w.flush()
		}
		if pong != nil {
			w.control(websocket.PongMessage, *pong)
		}
		for _, r := range replies {
			w.text(r.data)
		}
		s.releaseSlots(replies)
		for _, t := range turns {
			s.writeTurn(t, w)
		}
		for _, t := range typing {
			w.text(frame.Encode(t))
		}
		if w.err != nil {
			return w.err
		}
	}
}

// writeTurn writes one frame of a room's events, and what else changed there. Where more is left it marks the
// subscription again. A session that ended answers, but follows no room any more.
func (s *session) writeTurn(t turn, w *frameWriter) {
	sub := t.sub
	s.mu.Lock()
	if t.cursor == nil || sub.cursor != t.cursor || s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	after, delta := t.cursor.after, sub.presence
	sub.presence = nil
	encoded := t.cursor.take()
	more := len(encoded) > 0 // the rest of the page, or the log after it
	s.mu.Unlock()

	if delta != nil {
		w.text(frame.Encode(delta.frame(sub.room.name)))
	}
	if !more {
		var head int64
		var inLog bool
		if w.encoded, head, inLog = sub.room.read(w.encoded[:0], after, frameEvents, frameBytes); !inLog {
			if mutant.SlowReaderSkips {
				after = head
			} else {
				s.fetch(t, after)
			}
		}
		encoded = w.encoded
		more = inLog && after+int64(len(encoded)) < head
	}
	if n := len(encoded); n > 0 {
		w.events(sub.room.name, encoded)
		s.srv.metrics.delivered.Add(float64(n))
	}
	if mark, tell := s.advance(t, after+int64(len(encoded)), more); tell {
		w.text(frame.Encode(frame.Stored{Type: frame.TypeStored, Room: sub.room.name, Seq: mark}))
	}
}

// take takes from the page what fits into a frame, and at least one event.
func (c *cursor) take() (encoded [][]byte) {
	n, bytes := 0, 0
	for n < len(c.page) && n < frameEvents && bytes < frameBytes {
		bytes += len(c.page[n])
		n++
	}
	encoded, c.page = c.page[:n:n], c.page[n:]
	if len(c.page) == 0 {
		c.page = nil
	}
	return encoded
}

// advance moves a cursor to what was written, and tells whether the stored mark is news. A mark above what the client
// has seen would name events that it does not know.
func (s *session) advance(t turn, after int64, more bool) (mark int64, tell bool) {
	_, stored := t.sub.room.marks()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.sub.cursor != t.cursor { // joined again meanwhile, from elsewhere
		return 0, false
	}
	t.cursor.after = after
	if more {
		s.markDirtyLocked(t.sub)
	}
	if mark = min(stored, after); mark <= t.sub.stored {
		return 0, false
	}
	t.sub.stored = mark
	return mark, true
}

// fetch reads a page for a reader who fell off the log, or joined below it, at his own pace: one page at a time, and the
// next one when this one is written. A page may have come since the caller looked; then there is nothing to read.
func (s *session) fetch(t turn, after int64) {
	c := t.cursor
	s.mu.Lock()
	if c.fetching || t.sub.cursor != c || c.after != after || len(c.page) > 0 {
		s.mu.Unlock()
		return
	}
	c.fetching = true
	s.mu.Unlock()
	s.reads.Go(func() {
		page, err := s.srv.catchUpPage(c.ctx, t.sub.room.name, after)
		s.mu.Lock()
		c.fetching = false
		if err == nil && t.sub.cursor == c {
			c.page = page
			s.markDirtyLocked(t.sub)
		}
		s.mu.Unlock()
		s.signal()
	})
}

// catchUpPage reads a page above after, and tries until it can or ctx ends: the reader was promised these events.
func (s *Server) catchUpPage(ctx context.Context, room string, after int64) ([][]byte, error) {
	s.catchingUp.Add(1)
	defer s.catchingUp.Add(-1)
	pause := 50 * time.Millisecond
	for {
		select {
		case s.catchUps <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		readCtx, cancel := context.WithTimeout(ctx, openTimeout)
		evs, err := s.hub.reader.after(readCtx, room, after, catchUpPage)
		cancel()
		<-s.catchUps
		if err == nil && len(evs) == 0 {
			err = errBehind
		}
		if err == nil {
			page := make([][]byte, len(evs))
			for i, e := range evs {
				page[i] = frame.Encode(e)
			}
			s.metrics.catchUp.Inc()
			return page, nil
		}
		if ctx.Err() == nil {
			s.log.Warn("catching up waits", "room", room, "after", after, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// sayBye ends the connection in the words of the protocol, where there is something to say. A client's close is answered
// with its own code; to one that broke the framing the library has said why.
func (s *session) sayBye(w *frameWriter) {
	cause := context.Cause(s.ctx)
	var g *goodbye
	var closed *websocket.CloseError
	switch {
	case errors.As(cause, &g):
		w.text(frame.Encode(frame.Bye{Type: frame.TypeBye, Code: g.code, Message: g.message, RetryMS: g.retryMS}))
		reason := strings.ToValidUTF8(g.message[:min(len(g.message), maxReason)], "")
		w.control(websocket.CloseMessage, websocket.FormatCloseMessage(g.code, reason))
	case errors.As(cause, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		w.control(websocket.CloseMessage, websocket.FormatCloseMessage(closed.Code, ""))
	}
	_ = w.flush() // the client may be gone
}

// discard gives back the slots of answers that nobody will get, until no more can come.
func (s *session) discard() {
	for {
		s.mu.Lock()
		replies := s.replies
		s.replies = nil
		s.mu.Unlock()
		s.releaseSlots(replies)
		select {
		case <-s.flush:
			return
		case <-s.wake:
		}
	}
}

func (s *session) releaseSlots(replies []reply) {
	for _, r := range replies {
		if r.slot {
			<-s.slots
		}
	}
}
