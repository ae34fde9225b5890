package chatroom

import (
	"context"
	"errors"
	"fmt"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
)

// History is what the persister serves. Pages are in seq order and never pass a hole of what is stored.
type History interface {
	// Page returns at most limit events: the first above after, or with before not 0 the last below before.
	Page(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error)
	// Watermarks tells how far each room is stored without a hole.
	Watermarks(ctx context.Context, rooms []string) (map[string]int64, error)
}

// errBehind says that the history has not caught up with what the outbox gave up; it heals by itself.
var errBehind = errors.New("history is behind the outbox")

// reader reads a room's log from the databases. An outbox row is removed only when the persister has announced it
// stored, so at every moment an event is in the outbox, in the history, or in both. The outbox is read first: what it
// does not hold any more was stored before that, and the history that is read afterwards has it. The other order could
// miss an event that is stored, and removed, between the two.
type reader struct {
	store   store.Store
	history History
}

// after returns the run of events that starts at after+1, at most limit; empty only when there is none.
func (r *reader) after(ctx context.Context, room string, after int64, limit int) ([]frame.Event, error) {
	tail, err := r.store.Tail(ctx, room, after, 0, limit)
	if err != nil {
		return nil, fmt.Errorf("read the outbox of %s: %w", room, err)
	}
	if len(tail) > 0 && tail[0].Seq == after+1 {
		return run(tail, after+1, limit), nil
	}
	old, err := r.history.Page(ctx, room, after, 0, limit)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", room, err)
	}
	got := run(old, after+1, limit)
	if len(got) == 0 && len(tail) > 0 {
		return nil, fmt.Errorf("read %s above %d: %w", room, after, errBehind)
	}
	next := after + 1 + int64(len(got))
	for i, e := range tail {
		if e.Seq == next {
			return append(got, run(tail[i:], next, limit-len(got))...), nil
		}
	}
	return got, nil
}

// before returns the run of at most limit events that ends at last, where last is not above the room's head.
func (r *reader) before(ctx context.Context, room string, last int64, limit int) ([]frame.Event, error) {
	if last < 1 {
		return nil, nil
	}
	limit = int(min(int64(limit), last))
	tail, err := r.store.Tail(ctx, room, 0, last+1, limit)
	if err != nil {
		return nil, fmt.Errorf("read the outbox of %s: %w", room, err)
	}
	missing := last
	if len(tail) > 0 {
		missing = tail[0].Seq - 1
		if got := run(tail, tail[0].Seq, limit); len(got) != len(tail) || got[len(got)-1].Seq != last {
			return nil, fmt.Errorf("read %s below %d: %w", room, last+1, errBehind)
		}
	}
	want := limit - len(tail)
	if want <= 0 {
		return run(tail, missing+1, limit), nil
	}
	// A page of history is bounded in bytes as well, so that one may not be enough.
	var older []frame.Event
	for want > 0 && missing > 0 {
		page, err := r.history.Page(ctx, room, 0, missing+1, want)
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", room, err)
		}
		if len(page) == 0 || page[len(page)-1].Seq != missing {
			return nil, fmt.Errorf("read %s below %d: %w", room, missing+1, errBehind)
		}
		got := run(page, page[0].Seq, want)
		older = append(got, older...)
		want -= len(got)
		missing = page[0].Seq - 1
	}
	return append(older, run(tail, last-int64(len(tail))+1, limit)...), nil
}

// run converts the leading events that are dense from first on, at most limit.
func run(in []events.MessageSent, first int64, limit int) []frame.Event {
	out := make([]frame.Event, 0, min(len(in), limit))
	for _, m := range in {
		if m.Seq != first+int64(len(out)) || len(out) == limit {
			break
		}
		out = append(out, toFrame(m))
	}
	return out
}

func toFrame(m events.MessageSent) frame.Event {
	return frame.Event{Seq: m.Seq, Kind: m.Kind, ID: m.ID, From: m.From, SentAt: m.SentAt.UTC(), Text: m.Text}
}
