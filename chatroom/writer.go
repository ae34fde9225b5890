package chatroom

import (
	"bytes"
	"context"
	"errors"
	"slices"
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
	// writeBytes is how much is collected before it is written.
	writeBytes = 64 << 10
	// maxReason is what a close frame holds beside its code, in bytes.
	maxReason = 123
	// catchUpPage is how many events a reader who fell off the log takes from the databases at once.
	catchUpPage = 200
)

// flush writes what is due.
func (s *session) flush(f *flusher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked(f)
}

// flushLocked writes what the socket takes at once, and leaves the rest to the goroutine. A session that has ended is left
// to it altogether, since each of its writes must hurry.
func (s *session) flushLocked(f *flusher) {
	if s.writing {
		return // it will find what is new
	}
	if s.raw == nil || s.ctx.Err() != nil {
		s.startWriterLocked()
		return
	}
	for {
		s.composeLocked(&f.frames)
		data := f.frames.bytes()
		if len(data) == 0 {
			return
		}
		n, err := f.write(s.raw, data)
		if err != nil {
			s.failLocked(err)
			return
		}
		if n < len(data) {
			s.rest = bytes.Clone(data[n:])
			s.startWriterLocked()
			return
		}
	}
}

func (s *session) startWriterLocked() {
	if !s.writing {
		s.writing = true
		go s.writeLoop()
	}
}

// writeLoop is the goroutine that writes for one session, waiting for its socket, until nothing is left; after finish it
// says bye and is the last.
func (s *session) writeLoop() {
	var w frameBuffer
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		data := s.rest
		if s.rest = nil; data == nil {
			s.composeLocked(&w)
			data = w.bytes()
		}
		switch {
		case len(data) > 0:
			s.mu.Unlock()
			err := s.write(data)
			s.mu.Lock()
			if err != nil {
				s.failLocked(err)
			}
		case s.written != nil:
			if !s.failed {
				s.mu.Unlock() // a flusher must not wait for a client that does not read
				s.sayBye(&w)
				s.mu.Lock()
			}
			close(s.written)
			return
		default:
			_ = s.conn.NetConn().SetWriteDeadline(time.Time{}) // a flusher has none, since it does not wait
			s.writing = false
			return
		}
	}
}

// finish writes what is queued, and bye; nothing more may be queued. It returns when all is written, or given up.
func (s *session) finish() {
	written := make(chan struct{})
	s.mu.Lock()
	s.timer.Stop()
	s.written = written
	s.startWriterLocked()
	s.mu.Unlock()
	<-written
}

// write waits for the socket within writeTimeout, or farewellTimeout where the session has ended.
func (s *session) write(data []byte) error {
	conn := s.conn.NetConn()
	err := conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil && s.ctx.Err() != nil {
		err = conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	}
	if err == nil {
		_, err = conn.Write(data)
	}
	// A client that takes so much reads, though its answer to a ping may wait behind it. A small write proves nothing: it
	// fits into the buffers of a dead connection.
	if err == nil && len(data) >= writeBytes {
		_ = s.extend() // an error shows in the next read
	}
	return err
}

// failLocked ends a session that cannot be written to. Who waits for a slot gets it.
func (s *session) failLocked(err error) {
	s.failed = true
	s.cancel(err)
	s.interrupt()
	s.rest = nil
	s.dropRepliesLocked(len(s.replies))
}

func (s *session) heartbeat() {
	s.mu.Lock()
	s.beat = true
	if s.ctx.Err() == nil {
		s.timer.Reset(s.srv.opts.Heartbeat)
	}
	s.mu.Unlock()
	s.wake()
}

// composeLocked puts into w what is due, until that is about writeBytes: the answers first, then from each room a frame at
// a time in turn, so that no room and no catching up keeps an answer, or the heartbeat, waiting for long. With nothing due
// w is empty. The session's mu is held.
func (s *session) composeLocked(w *frameBuffer) {
	w.reset()
	s.dropRepliesLocked(s.framed) // what was composed before is written
	if s.failed {
		s.dropRepliesLocked(len(s.replies))
		return
	}
	if s.beat {
		s.beat = false
		s.composeHeartbeatLocked(w)
	}
	if s.pong != nil {
		w.control(websocket.PongMessage, *s.pong)
		s.pong = nil
	}
	for s.framed < len(s.replies) && w.len() < writeBytes {
		r := &s.replies[s.framed]
		w.text(r.data)
		r.data = nil // it may take long to write the copy
		s.framed++
	}
	for len(s.dirty) > 0 && w.len() < writeBytes {
		sub := s.dirty[0]
		s.dirty = slices.Delete(s.dirty, 0, 1)
		sub.dirty = false
		s.composeTurnLocked(sub, w)
	}
	for _, t := range s.typing {
		w.text(frame.Encode(t))
	}
	s.typing = nil
}

// composeHeartbeatLocked appends a ping and the heads of the rooms that are joined.
func (s *session) composeHeartbeatLocked(w *frameBuffer) {
	w.control(websocket.PingMessage, nil)
	if len(s.subs) == 0 {
		return
	}
	heads := make(map[string]int64, len(s.subs))
	for _, sub := range s.subs {
		heads[sub.room.name], _ = sub.room.marks()
	}
	w.text(frame.Encode(frame.Heads{Type: frame.TypeHeads, Rooms: heads}))
}

// composeTurnLocked appends one frame of a room's events, and what else changed there. Where more is left it marks the
// subscription again. A session that ended answers, but follows no room any more.
func (s *session) composeTurnLocked(sub *subscription, w *frameBuffer) {
	c := sub.cursor
	if c == nil || s.ctx.Err() != nil {
		return
	}
	if sub.presence != nil {
		w.text(frame.Encode(sub.presence.frame(sub.room.name)))
		sub.presence = nil
	}
	if page := c.take(); len(page) > 0 {
		w.events(sub.room.name, page)
		s.deliveredLocked(sub, int64(len(page)))
		s.markDirtyLocked(sub)
	} else {
		next, inLog := sub.room.next(spot{c.after, sub.stored})
		if inLog {
			w.whole(next.frames)
			sub.stored = next.to.stored
			s.deliveredLocked(sub, int64(next.events))
			if next.events > 0 && next.more {
				s.markDirtyLocked(sub)
			}
			return
		}
		if mutant.SlowReaderSkips {
			c.after, _ = sub.room.marks()
		} else {
			s.fetchLocked(sub)
		}
	}
	if _, mark := sub.room.marks(); min(mark, c.after) > sub.stored {
		sub.stored = min(mark, c.after)
		w.text(storedFrame(sub.room.name, sub.stored))
	}
}

func (s *session) deliveredLocked(sub *subscription, events int64) {
	if events > 0 {
		sub.cursor.after += events
		s.srv.metrics.delivered.Add(float64(events))
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

// fetchLocked reads a page for a reader who fell off the log, or joined below it, at his own pace: one page at a time, and
// the next one when this one is written.
func (s *session) fetchLocked(sub *subscription) {
	c, after := sub.cursor, sub.cursor.after
	if c.fetching {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	c.fetching, c.cancel = true, cancel
	s.reads.Go(func() {
		defer cancel()
		page, err := s.srv.catchUpPage(ctx, sub.room.name, after)
		s.mu.Lock()
		c.fetching, c.cancel = false, nil
		if err == nil && sub.cursor == c && c.after == after {
			c.page = page
			s.markDirtyLocked(sub)
		}
		s.mu.Unlock()
		s.wake()
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
func (s *session) sayBye(w *frameBuffer) {
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
	default:
		return
	}
	_ = s.write(w.bytes()) // the client may be gone
}

// dropRepliesLocked removes the first n answers, which are written, or will never be, and gives their slots back.
func (s *session) dropRepliesLocked(n int) {
	for _, r := range s.replies[:n] {
		if r.slot {
			s.releaseLocked()
		}
		if r.page {
			s.pages--
		}
	}
	s.framed = 0
	if s.replies = slices.Delete(s.replies, 0, n); len(s.replies) == 0 {
		s.replies = nil
	}
	s.readPagesLocked()
}
