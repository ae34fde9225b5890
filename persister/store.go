package persister

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/events"
)

// Bounds of a stored event. They are far above what the chat room accepts; they keep one event small enough for a page.
const (
	// MaxEventBytes bounds the strings of one event together.
	MaxEventBytes = 256 << 10
	// maxRoomBytes keeps a room's name inside an index entry.
	maxRoomBytes = 256
	// eventOverhead is what an event costs in a page beside its strings, rounded up, in bytes.
	eventOverhead = 64
)

// Why an event was refused for good. Both come wrapped by [events.Permanent].
var (
	// ErrConflict: another content is stored under the same room and seq.
	ErrConflict = errors.New("another event is stored under this seq")
	// ErrBadEvent: no database could store the event, or this one refuses its values.
	ErrBadEvent = errors.New("event cannot be stored")
)

// Store is the persister's database. All methods may be called from many goroutines, and by several processes on one
// PostgreSQL. Two implementations, [Postgres] and [SQLite], pass one suite (storetest).
type Store interface {
	// Insert commits the events, in any order and with repetitions, and returns an error for each: nil when it is stored,
	// also by an earlier call with the same content; otherwise a permanent one ([events.IsPermanent]) that wraps
	// [ErrConflict] or [ErrBadEvent]. The second result is an outage: nothing is known then, and calling again with the
	// same events is right and safe.
	Insert(ctx context.Context, evs []events.MessageSent) ([]error, error)
	// Page reads a part of a room in seq order, never above its watermark.
	Page(ctx context.Context, q PageQuery) (Page, error)
	// AdvanceWatermarks moves the watermarks of the rooms up to the first hole, and returns them; 0 for a room of which
	// nothing is stored. It reads in bounded steps and keeps the progress of those that succeeded before an error.
	AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error)
}

// PageQuery asks for a page. With Before > 0 it holds the last events below Before, otherwise the first ones above After.
type PageQuery struct {
	Room          string
	After, Before int64
	Limit         int // events, 1 or more
	MaxBytes      int // bytes of their strings; a page that is not empty holds one event at least
}

// Page is a part of a room's history.
type Page struct {
	Events    []events.MessageSent // ascending by seq
	Watermark int64                // every event up to it is stored; 0: none
	Complete  bool                 // nothing is left in the direction of the query, up to Watermark
}

// span is the range of seqs, low < seq <= high, that a page may hold under a watermark.
func (q PageQuery) span(mark int64) (low, high int64) {
	limit := int64(max(q.Limit, 1))
	if q.Before > 0 {
		high = min(q.Before-1, mark)
		return max(high-limit, 0), high
	}
	low, high = max(q.After, 0), mark
	if high-low > limit {
		high = low + limit
	}
	return low, high
}

// wantsAbove tells whether more than what mark covers could be on the page.
func (q PageQuery) wantsAbove(mark int64) bool {
	if q.Before > 0 {
		return q.Before-1 > mark
	}
	return q.After > mark || mark-q.After < int64(q.Limit)
}

// page judges what was read for the query.
func (q PageQuery) page(evs []events.MessageSent, mark int64) Page {
	p := Page{Events: evs, Watermark: mark}
	switch {
	case len(evs) == 0:
		p.Complete = true
	case q.Before > 0:
		p.Complete = evs[0].Seq == 1
	default:
		p.Complete = evs[len(evs)-1].Seq >= mark
	}
	return p
}

// size is what an event counts for in bounds of bytes.
func size(e events.MessageSent) int {
	return eventOverhead + len(e.Kind) + len(e.ID) + len(e.From) + len(e.Text)
}

// check refuses what no database may be asked to store. It goes before the insert, so that both dialects refuse the same.
func check(e events.MessageSent) error {
	bad := func(format string, args ...any) error {
		return events.Permanent(fmt.Errorf("%w: %s", ErrBadEvent, fmt.Sprintf(format, args...)))
	}
	if n := len(e.Room) + len(e.Kind) + len(e.ID) + len(e.From) + len(e.Text); n > MaxEventBytes {
		return bad("it has %d bytes, at most %d are allowed", n, MaxEventBytes)
	}
	if len(e.Room) > maxRoomBytes {
		return bad("its room has a name of %d bytes, at most %d are allowed", len(e.Room), maxRoomBytes)
	}
	for _, f := range [...]struct{ name, value string }{
		{"room", e.Room}, {"kind", e.Kind}, {"id", e.ID}, {"from", e.From}, {"text", e.Text},
	} {
		switch {
		case f.value == "" && f.name != "text":
			return bad("%s is empty", f.name)
		case strings.IndexByte(f.value, 0) >= 0:
			return bad("%s has a NUL character", f.name)
		case !utf8.ValidString(f.value):
			return bad("%s is not valid UTF-8", f.name)
		}
	}
	if e.Seq < 1 {
		return bad("seq is %d", e.Seq)
	}
	if y := e.SentAt.UTC().Year(); y < 1 || y > 9999 {
		return bad("sent_at is in the year %d", y)
	}
	return nil
}

// verdict compares an event with the row that is stored under its key. Times count in whole milliseconds, as the
// contract has them.
func verdict(e, stored events.MessageSent) error {
	if e.Kind == stored.Kind && e.ID == stored.ID && e.From == stored.From && e.Text == stored.Text &&
		e.SentAt.UnixMilli() == stored.SentAt.UnixMilli() {
		return nil
	}
	return events.Permanent(fmt.Errorf("%s: %w", events.EventID(e.Room, e.Seq), ErrConflict))
}

// sentAt is the time as it is stored.
func sentAt(e events.MessageSent) time.Time { return time.UnixMilli(e.SentAt.UnixMilli()).UTC() }

// sortedValid sets errs for the events that check refuses, and returns the indexes of the others by room and seq: two
// persisters that insert the same keys take their locks in one order, and pages of the index are touched once.
func sortedValid(evs []events.MessageSent, errs []error) []int {
	order := make([]int, 0, len(evs))
	for i, e := range evs {
		if errs[i] = check(e); errs[i] == nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(strings.Compare(evs[a].Room, evs[b].Room), cmp.Compare(evs[a].Seq, evs[b].Seq))
	})
	return order
}
