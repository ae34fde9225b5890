package chatroom

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// handle serves one frame, which it does not keep; it owns a slot, which goes to the answer or back. joins tells that it
// was a join: after it many clients are silent.
func (s *session) handle(b []byte) (joins bool) {
	c, ferr := frame.Parse(b)
	if ferr != nil {
		s.answer(ferr)
		return false
	}
	switch c.Type {
	case frame.TypeHello:
		s.answer(frame.Errorf(frame.BadRequest, c.ID, "hello was said already"))
	case frame.TypeJoin:
		s.join(c)
	case frame.TypeLeave:
		s.leave(c)
	case frame.TypeSend:
		s.send(c)
	case frame.TypeHistory:
		s.history(c)
	case frame.TypeTyping:
		s.tellTyping(c)
	}
	return c.Type == frame.TypeJoin
}

// join subscribes first and sets the cursor; whoever writes then replays from it. Nothing can fall between the two.
func (s *session) join(c frame.Client) {
	s.mu.Lock()
	sub := s.subLocked(c.Room)
	again, full := sub != nil, len(s.subs) >= maxRooms
	s.mu.Unlock()
	if !again && full {
		s.answer(frame.Errorf(frame.Forbidden, c.ID, "at most %d rooms for one connection", maxRooms))
		return
	}
	if !again {
		var err error
		if sub, err = s.srv.subscribe(s.ctx, s, c.Room); err != nil {
			s.answer(s.srv.refuse(c.ID, err))
			return
		}
	}
	members, count := s.srv.presence.members(c.Room) // who was there before
	if !again {
		s.srv.presence.enter(c.Room, s.user)
	}

	head, stored := sub.room.marks()
	after := max(0, head-frame.DefaultTail)
	reset := c.Epoch != "" && c.Epoch != s.srv.epoch
	if c.After != nil && !reset {
		if *c.After > head {
			// The client may know of an event that the fan-out has not brought here yet.
			var err error
			if head, err = s.srv.hub.catchUp(s.ctx, sub.room, *c.After); err != nil {
				if !again {
					s.srv.leave(sub)
				}
				s.answer(s.srv.refuse(c.ID, err))
				return
			}
		}
		if reset = *c.After > head; !reset {
			after = *c.After
		}
	}
	if reset {
		after = max(0, head-frame.DefaultTail)
	}
	if mutant.FetchBeforeSubscribe && !reset {
		time.Sleep(20 * time.Millisecond)
		now, _ := sub.room.marks()
		after += now - head
	}
	joined := frame.Encode(frame.Joined{
		Type: frame.TypeJoined, ID: c.ID, Room: c.Room, Epoch: s.srv.epoch, Head: head, Stored: stored,
		Reset: reset, Members: members, Count: count,
	})
	s.mu.Lock()
	if !again {
		s.subs = append(s.subs, sub)
	}
	sub.moveLocked(&cursor{after: after})
	sub.stored = stored
	s.replies = append(s.replies, reply{data: joined, slot: true})
	s.markDirtyLocked(sub)
	s.mu.Unlock()
	s.wake()
}

func (s *session) leave(c frame.Client) {
	s.mu.Lock()
	sub := s.subLocked(c.Room)
	if sub != nil {
		s.subs = slices.DeleteFunc(s.subs, func(o *subscription) bool { return o == sub })
		sub.moveLocked(nil)
	}
	s.mu.Unlock()
	if sub == nil {
		s.answer(frame.Errorf(frame.NotJoined, c.ID, "join %s first", c.Room))
		return
	}
	s.srv.leave(sub)
	s.done()
}

func (s *session) joinedTo(room string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subLocked(room) != nil
}

// send submits a message; the answer comes from the acceptor.
func (s *session) send(c frame.Client) {
	if !s.joinedTo(c.Room) {
		s.answer(frame.Errorf(frame.NotJoined, c.ID, "join %s before you send to it", c.Room))
		return
	}
	if wait, ok := s.srv.rates.take(s.user); !ok {
		s.answer(rateLimited(c.ID, wait))
		return
	}
	s.work.Add(1)
	p := pending{
		send: store.Send{Sender: s.user, ID: c.ID, Room: c.Room, Text: c.Text},
		done: func(r store.Receipt, err error) {
			s.accepted(c.Room, frame.Encode(s.srv.outcome(c.ID, c.Room, r, err)))
			s.work.Done()
		},
		wake: s.wake,
	}
	if err := s.srv.acceptor.submit(s.ctx, p); err != nil {
		refuse([]pending{p}, err)
	}
}

// accepted queues the answer to a send, without waking anybody. The room's news, of which the message is a part, go out with
// it in one write.
func (s *session) accepted(room string, answer []byte) {
	s.mu.Lock()
	s.replies = append(s.replies, reply{data: answer, slot: true})
	if sub := s.subLocked(room); sub != nil {
		s.markDirtyLocked(sub)
	}
	s.mu.Unlock()
}

func rateLimited(id string, wait time.Duration) *frame.Error {
	e := frame.Errorf(frame.RateLimited, id, "too many messages; wait %s", wait.Round(time.Millisecond))
	e.RetryAfterMS = max(1, wait.Milliseconds())
	return e
}

// outcome is the frame that answers a send.
func (s *Server) outcome(id, room string, r store.Receipt, err error) any {
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return s.refuse(id, err)
	}
	return frame.Accepted{
		Type: frame.TypeAccepted, ID: id, Room: room, Seq: r.Seq, SentAt: r.SentAt, Duplicate: r.Duplicate,
	}
}

// refuse is the one table from errors to codes. What the user did not cause is unavailable, and told without detail.
func (s *Server) refuse(id string, err error) *frame.Error {
	var ferr *frame.Error
	switch {
	case errors.As(err, &ferr):
		return ferr
	case errors.Is(err, store.ErrIDConflict):
		return frame.Errorf(frame.IDConflict, id, "the id was used for another text or room")
	case errors.Is(err, store.ErrBadRow):
		return frame.Errorf(frame.BadRequest, id, "the database cannot hold this message")
	case errors.Is(err, errStopping), errors.Is(err, context.Canceled):
		return frame.Errorf(frame.Unavailable, id, "the server is stopping; send again with the same id")
	default:
		s.log.Warn("request refused", "error", err)
		return frame.Errorf(frame.Unavailable, id, "the storage does not answer; try again, with the same id")
	}
}

// history puts a request for a page in line. Pages are read beside the read loop, so that a slow database does not hold up
// the sends.
func (s *session) history(c frame.Client) {
	s.work.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, c)
	s.readPagesLocked()
}

// readPagesLocked starts to read the pages that are asked for and have a slot. The session's mu is held.
func (s *session) readPagesLocked() {
	for len(s.asked) > 0 && s.pages < pageSlots {
		c := s.asked[0]
		if s.asked = s.asked[1:]; len(s.asked) == 0 {
			s.asked = nil
		}
		s.pages++
		go s.readPage(c)
	}
}

// readPage answers a request for a page, whose slot goes on to the answer.
func (s *session) readPage(c frame.Client) {
	defer s.work.Done()
	ctx, cancel := context.WithTimeout(s.ctx, openTimeout)
	defer cancel()
	var answer any
	page, err := s.srv.page(ctx, c.Room, c.After, c.Before, *c.Limit)
	if err != nil {
		answer = s.srv.refuse(c.ID, err)
	} else {
		answer = frame.Events{
			Type: frame.TypeEvents, ID: c.ID, Room: c.Room, Events: page.Events, Complete: &page.Complete,
		}
	}
	s.queue(reply{data: frame.Encode(answer), slot: true, page: true})
}

// tellTyping tells the others; it has no answer, and is dropped where the room is not joined or the user types too often.
func (s *session) tellTyping(c frame.Client) {
	defer s.done()
	if s.joinedTo(c.Room) {
		s.srv.presence.typing(c.Room, s.user)
	}
}
