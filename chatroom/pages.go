package chatroom

import (
	"context"
	"fmt"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// pageBytes bounds the events of a page as they are encoded, where a control character takes six bytes.
const pageBytes = 1 << 20

// page reads a page of a room's history, for people who need not have joined it. With neither after nor before it is
// the last page. A room that nobody made yet is empty.
func (s *Server) page(ctx context.Context, room string, after, before *int64, limit int) (frame.History, error) {
	p := frame.History{Room: room, Complete: true, Events: []frame.Event{}}
	select {
	case s.pages <- struct{}{}:
		defer func() { <-s.pages }()
	case <-ctx.Done():
		return p, fmt.Errorf("wait for other pages, to read one of %s: %w", room, ctx.Err())
	}
	heads, err := s.store.Heads(ctx, []string{room})
	if err != nil {
		return p, err
	}
	head, ok := heads[room]
	if !ok {
		return p, nil
	}
	p.Head, p.Stored = head, s.storedMark(ctx, room, head)
	var evs []frame.Event
	switch {
	case after != nil && *after >= head:
		return p, nil
	case after != nil:
		evs, err = s.hub.reader.after(ctx, room, *after, limit)
		if err == nil && len(evs) == 0 {
			err = errBehind
		}
	default:
		last := head
		if before != nil {
			last = min(head, *before-1)
		}
		evs, err = s.hub.reader.before(ctx, room, last, limit)
	}
	if err != nil {
		return p, err
	}
	if evs = clip(evs, after == nil); len(evs) > 0 {
		p.Events = evs
		if after != nil {
			p.Complete = evs[len(evs)-1].Seq >= head
		} else {
			p.Complete = evs[0].Seq == 1
		}
	}
	return p, nil
}

// clip keeps of a page what fits into pageBytes, and at least one event: the last ones where it looks backward.
func clip(evs []frame.Event, backward bool) []frame.Event {
	bytes := 0
	for n := range evs {
		at := n
		if backward {
			at = len(evs) - 1 - n
		}
		if bytes += len(frame.Encode(evs[at])); bytes <= pageBytes || n == 0 {
			continue
		}
		if backward {
			return evs[at+1:]
		}
		return evs[:at]
	}
	return evs
}

// storedMark tells how far a room is stored: what the outbox still holds is not known to be. head was read before.
func (s *Server) storedMark(ctx context.Context, room string, head int64) int64 {
	if r := s.hub.get(room); r != nil {
		if _, stored := r.marks(); stored > 0 {
			return min(stored, head)
		}
	}
	tail, err := s.store.Tail(ctx, room, 0, 0, 1)
	if err != nil {
		return 0
	}
	if len(tail) > 0 {
		return min(head, tail[0].Seq-1)
	}
	return head
}
