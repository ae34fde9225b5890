package chatroom

import (
	"context"
	"errors"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

const (
	// A frame of events carries at most this many, and about this many bytes.
	frameEvents = 200
	frameBytes  = 128 << 10
	// catchUpPage is how many events a reader who fell off the log takes from the databases at once.
	catchUpPage = 200
)

// writeLoop is the connection's only writer. It writes until flush is closed and nothing is queued, or a write fails.
func (s *session) writeLoop() {
	beat := time.NewTicker(s.srv.opts.Heartbeat)
	defer beat.Stop()
	var buf []byte
	for {
		var err error
		if buf, err = s.writeQueued(buf); err != nil {
			s.cancel(err)
			s.discard()
			return
		}
		select {
		case <-s.wake:
		case <-beat.C:
			s.mu.Lock()
			s.heads = true
			s.mu.Unlock()
			// A ping that cannot be written shows at the next write, or as silence.
			_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
			s.signal()
		case <-s.flush:
			if _, err := s.writeQueued(buf); err == nil {
				s.sayBye()
			}
			s.discard()
			return
		}
	}
}

// writeQueued writes what there is: the answers first, then from each room a frame at a time in turn, so that no room and
// no catching up keeps an answer waiting for long.
func (s *session) writeQueued(buf []byte) ([]byte, error) {
	var frames [][]byte
	for {
		s.mu.Lock()
		replies, dirty, typing, heads := s.replies, s.dirty, s.typing, s.heads
		s.replies, s.dirty, s.typing, s.heads = nil, nil, nil, false
		for _, sub := range dirty {
			sub.dirty = false
		}
		s.mu.Unlock()
		if len(replies) == 0 && len(dirty) == 0 && len(typing) == 0 && !heads {
			return buf, nil
		}
		for i, r := range replies {
			err := s.write(r.data)
			if r.slot {
				<-s.slots
			}
			if err != nil {
				s.releaseSlots(replies[i+1:])
				return buf, err
			}
		}
		for _, sub := range dirty {
			var err error
			if frames, buf, err = s.writeSub(sub, frames[:0], buf); err != nil {
				return buf, err
			}
		}
		for _, t := range typing {
			if err := s.write(frame.Encode(t)); err != nil {
				return buf, err
			}
		}
		if heads {
			if err := s.writeHeads(); err != nil {
				return buf, err
			}
		}
	}
}

// writeSub writes one frame of a room's events, and what else changed there. Where more is left it marks the
// subscription again.
func (s *session) writeSub(sub *subscription, encoded [][]byte, buf []byte) ([][]byte, []byte, error) {
	s.mu.Lock()
	if !sub.joined {
		s.mu.Unlock()
		return encoded, buf, nil
	}
	after, page, generation, delta := sub.after, sub.page, sub.generation, sub.presence
	sub.page, sub.presence = nil, nil
	s.mu.Unlock()

	if delta != nil {
		if err := s.write(frame.Encode(delta.frame(sub.room.name))); err != nil {
			return encoded, buf, err
		}
	}
	more := len(page) > 0 // and perhaps the log, after it
	if more {
		encoded = append(encoded, page...)
	} else {
		var head int64
		var inLog bool
		if encoded, head, inLog = sub.room.read(encoded, after, frameEvents, frameBytes); !inLog {
			s.fetch(sub, after, generation)
		}
		more = inLog && after+int64(len(encoded)) < head
	}
	if len(encoded) > 0 {
		buf = frame.AppendEvents(buf[:0], sub.room.name, encoded)
		if err := s.write(buf); err != nil {
			return encoded, buf, err
		}
		s.srv.metrics.delivered.Add(float64(len(encoded)))
	}

	_, stored := sub.room.marks()
	s.mu.Lock()
	if sub.generation != generation { // joined again meanwhile, from elsewhere
		s.mu.Unlock()
		return encoded, buf, nil
	}
	sub.after = after + int64(len(encoded))
	// A mark above what the client has seen would name events it does not know.
	mark := min(stored, sub.after)
	tell := mark > sub.stored && sub.joined
	if tell {
		sub.stored = mark
	}
	if more {
		s.markDirtyLocked(sub)
	}
	s.mu.Unlock()
	if tell {
		if err := s.write(frame.Encode(frame.Stored{Type: frame.TypeStored, Room: sub.room.name, Seq: mark})); err != nil {
			return encoded, buf, err
		}
	}
	return encoded, buf, nil
}

// fetch reads a page for a reader who fell off the log, or joined below it, at his own pace: one page at a time, and the
// next one when this one is written. The cursor may have moved since the caller looked, by a page that came in between
// or by another join; then there is nothing to read for it, and who moved it has marked the subscription.
func (s *session) fetch(sub *subscription, after int64, generation int) {
	s.mu.Lock()
	current := func() bool { return sub.generation == generation && sub.after == after && len(sub.page) == 0 }
	if sub.fetching || !current() || s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	sub.fetching = true
	s.mu.Unlock()
	s.reads.Go(func() {
		page, err := s.srv.catchUpPage(s.ctx, sub.room.name, after)
		s.mu.Lock()
		sub.fetching = false
		if err == nil && current() {
			sub.page = page
		}
		s.markDirtyLocked(sub)
		s.mu.Unlock()
		s.signal()
	})
}

// catchUpPage reads a page above after, and tries until it can or ctx ends: the reader was promised these events.
func (s *Server) catchUpPage(ctx context.Context, room string, after int64) ([][]byte, error) {
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

func (s *session) writeHeads() error {
	s.mu.Lock()
	subs := make([]*subscription, 0, len(s.subs))
	for _, sub := range s.subs {
		subs = append(subs, sub)
	}
	s.mu.Unlock()
	if len(subs) == 0 {
		return nil
	}
	heads := make(map[string]int64, len(subs))
	for _, sub := range subs {
		heads[sub.room.name], _ = sub.room.marks()
	}
	return s.write(frame.Encode(frame.Heads{Type: frame.TypeHeads, Rooms: heads}))
}

func (s *session) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return s.conn.WriteMessage(websocket.TextMessage, b)
}

// sayBye ends the connection in the words of the protocol, where there is something to say.
func (s *session) sayBye() {
	var g *goodbye
	if !errors.As(context.Cause(s.ctx), &g) {
		_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		return
	}
	if s.write(frame.Encode(frame.Bye{Type: frame.TypeBye, Code: g.code, Message: g.message, RetryMS: g.retryMS})) == nil {
		_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(g.code, g.message), time.Now().Add(time.Second))
	}
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
