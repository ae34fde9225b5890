package chatroom

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

const (
	// A frame of events carries at most this many, and about this many bytes.
	frameEvents = 200
	frameBytes  = 128 << 10
	// maxReason is what a close frame holds beside its code, in bytes.
	maxReason = 123
	// catchUpPage is how many events a reader who fell off the log takes from the databases at once.
	catchUpPage = 200
)

// writeLoop is the connection's only writer. It writes until flush is closed and nothing is queued, or a write fails.
func (s *session) writeLoop() {
	beat := time.NewTicker(s.srv.opts.Heartbeat)
	defer beat.Stop()
	w := &frameWriter{conn: s.conn.NetConn()}
	for {
		if err := s.writeQueued(w); err != nil {
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
			w.control(websocket.PingMessage, nil)
			s.signal()
		case <-s.flush:
			if err := s.writeQueued(w); err == nil {
				s.sayBye(w)
			}
			s.discard()
			return
		}
	}
}

// writeQueued writes what there is: the answers first, then from each room a frame at a time in turn, so that no room and
// no catching up keeps an answer waiting for long.
func (s *session) writeQueued(w *frameWriter) error {
	for {
		s.mu.Lock()
		replies, dirty, typing, heads, pong := s.replies, s.dirty, s.typing, s.heads, s.pong
		s.replies, s.dirty, s.typing, s.heads, s.pong = nil, nil, nil, false, nil
		for _, sub := range dirty {
			sub.dirty = false
		}
		s.mu.Unlock()
		if len(replies) == 0 && len(dirty) == 0 && len(typing) == 0 && !heads && pong == nil {
			return w.flush()
		}
		if pong != nil {
			w.control(websocket.PongMessage, *pong)
		}
		for _, r := range replies {
			w.text(r.data)
		}
		s.releaseSlots(replies)
		for _, sub := range dirty {
			s.writeSub(sub, w)
		}
		for _, t := range typing {
			w.text(frame.Encode(t))
		}
		if heads {
			s.writeHeads(w)
		}
		if w.err != nil {
			return w.err
		}
	}
}

// writeSub writes one frame of a room's events, and what else changed there. Where more is left it marks the
// subscription again.
func (s *session) writeSub(sub *subscription, w *frameWriter) {
	s.mu.Lock()
	if !sub.joined {
		s.mu.Unlock()
		return
	}
	after, encoded, generation, delta := sub.after, sub.page, sub.generation, sub.presence
	sub.page, sub.presence = nil, nil
	s.mu.Unlock()

	if delta != nil {
		w.text(frame.Encode(delta.frame(sub.room.name)))
	}
	more := len(encoded) > 0 // and perhaps the log, after a page
	if !more {
		var head int64
		var inLog bool
		if w.encoded, head, inLog = sub.room.read(w.encoded[:0], after, frameEvents, frameBytes); !inLog {
			s.fetch(sub, after, generation)
		}
		encoded = w.encoded
		more = inLog && after+int64(len(encoded)) < head
	}
	if len(encoded) > 0 {
		w.events(sub.room.name, encoded)
		s.srv.metrics.delivered.Add(float64(len(encoded)))
	}

	if mark, tell := s.advance(sub, generation, after+int64(len(encoded)), more); tell {
		w.text(frame.Encode(frame.Stored{Type: frame.TypeStored, Room: sub.room.name, Seq: mark}))
	}
}

// advance moves a cursor to what was written, and tells whether the stored mark is news. A mark above what the client
// has seen would name events that it does not know.
func (s *session) advance(sub *subscription, generation int, after int64, more bool) (mark int64, tell bool) {
	_, stored := sub.room.marks()
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.generation != generation || !sub.joined { // joined again meanwhile, from elsewhere
		return 0, false
	}
	sub.after = after
	if more {
		s.markDirtyLocked(sub)
	}
	if mark = min(stored, after); mark <= sub.stored {
		return 0, false
	}
	sub.stored = mark
	return mark, true
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

func (s *session) writeHeads(w *frameWriter) {
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

// sayBye ends the connection in the words of the protocol, where there is something to say.
func (s *session) sayBye(w *frameWriter) {
	code, message := websocket.CloseNormalClosure, ""
	var g *goodbye
	if errors.As(context.Cause(s.ctx), &g) {
		code, message = g.code, g.message
		w.text(frame.Encode(frame.Bye{Type: frame.TypeBye, Code: g.code, Message: g.message, RetryMS: g.retryMS}))
	}
	reason := strings.ToValidUTF8(message[:min(len(message), maxReason)], "")
	w.control(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason))
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
