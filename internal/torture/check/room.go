package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

// A room is checked by itself, in one walk over its seqs: what was accepted for a seq, and what history, table and keys
// have there, lie beside each other.
type room struct {
	c *checker
	Room
	sends   []int // of checker.sends
	readers []*Reader

	waiting map[int64]bool // seqs that wait in the outbox
	open    map[name]*openSend
	missing []missing
	strays  []stray
	order   []placed // every send whose seq is known
	limit   int64    // the highest seq that must be there
	hole    hole
	scratch []message // of judgePlace
}

// openSend is a send that was not accepted.
type openSend struct {
	send  int
	seq   int64 // where it was found, 0: nowhere yet
	sides sides
}

// missing is an accepted send that is not everywhere at its seq.
type missing struct {
	send  int
	sides sides // where it is not
}

// stray is an event that no send of its room claims for its seq.
type stray struct {
	name
	room  string
	seq   int64
	sides sides
}

// placed is a send at its seq: the one accepted, or where it was found.
type placed struct {
	seq  int64
	send int
}

// hole is a run of seqs that the same sides lack.
type hole struct {
	from, to int64
	sides    sides
}

func (r *room) judge() {
	bySeq := func(a, b Event) int { return cmp.Compare(a.Seq, b.Seq) }
	r.judgeHistoryOrder()
	r.History = sortedBy(r.History, bySeq)
	r.Stored = sortedBy(r.Stored, bySeq)
	r.Keys = sortedBy(r.Keys, func(a, b Key) int { return cmp.Compare(a.Seq, b.Seq) })

	r.waiting = make(map[int64]bool, len(r.Waiting))
	for _, seq := range r.Waiting {
		r.waiting[seq] = true
	}
	accepted := r.splitSends()
	r.walk(accepted)
	r.judgeMissing()
	r.judgeRealTime()
	for _, reader := range r.readers {
		r.judgeReader(reader)
	}
}

// sortedBy returns list if it is in order, and a sorted copy otherwise.
func sortedBy[T any](list []T, by func(a, b T) int) []T {
	if slices.IsSortedFunc(list, by) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, by)
	return list
}

// judgeHistoryOrder holds the pages of the history to their order.
func (r *room) judgeHistoryOrder() {
	for i := 1; i < len(r.History); i++ {
		e, before := r.History[i], r.History[i-1].Seq
		if e.Seq < before {
			r.report(KindOutOfOrder, 1, e.Seq, e.ID, func() string {
				return fmt.Sprintf("The history of %s tells seq %d after seq %d.", r.Name, e.Seq, before)
			})
		}
	}
}

// splitSends returns the accepted sends in the order of their seqs, and keeps the others by name.
func (r *room) splitSends() []placed {
	accepted := make([]placed, 0, len(r.sends))
	r.open = make(map[name]*openSend)
	for _, i := range r.sends {
		s := &r.c.sends[i]
		if s.Accepted != 0 {
			accepted = append(accepted, placed{s.Seq, i})
		} else {
			r.open[name{s.Sender, s.ID}] = &openSend{send: i}
		}
	}
	return sortedBy(accepted, func(a, b placed) int { return cmp.Compare(a.seq, b.seq) })
}

// walk goes through all seqs that occur anywhere.
func (r *room) walk(accepted []placed) {
	history, stored, keys := r.History, r.Stored, r.Keys
	last := max(lastSeq(history), lastSeq(stored))
	if n := len(keys); n > 0 {
		last = max(last, keys[n-1].Seq)
	}
	r.limit = max(last, r.Head)
	if last > r.Head {
		r.report(KindHead, 1, last, "", func() string {
			return fmt.Sprintf("The head of %s is %d, but there is an event with seq %d.", r.Name, r.Head, last)
		})
	}

	next := int64(1)
	for len(history)+len(stored)+len(keys)+len(accepted) > 0 {
		seq := int64(1<<63 - 1)
		if len(history) > 0 {
			seq = min(seq, history[0].Seq)
		}
		if len(stored) > 0 {
			seq = min(seq, stored[0].Seq)
		}
		if len(keys) > 0 {
			seq = min(seq, keys[0].Seq)
		}
		if len(accepted) > 0 {
			seq = min(seq, accepted[0].seq)
		}
		at := place{seq: seq}
		at.history, history = cut(history, func(e *Event) bool { return e.Seq == seq })
		at.stored, stored = cut(stored, func(e *Event) bool { return e.Seq == seq })
		at.keys, keys = cut(keys, func(k *Key) bool { return k.Seq == seq })
		at.sends, accepted = cut(accepted, func(p *placed) bool { return p.seq == seq })

		if seq >= 1 {
			r.lacks(next, seq-1, everywhere)
			r.lacks(seq, seq, r.owed(seq, at.empty()))
			next = seq + 1
		}
		r.judgePlace(at)
	}
	r.lacks(next, r.limit, everywhere)
	r.endHole()
}

func lastSeq(list []Event) int64 {
	if len(list) == 0 {
		return 0
	}
	return list[len(list)-1].Seq
}

// cut divides a list after the elements at its front that are wanted.
func cut[T any](list []T, wanted func(*T) bool) (front, rest []T) {
	n := 0
	for n < len(list) && wanted(&list[n]) {
		n++
	}
	return list[:n], list[n:]
}

// lacks notes that sides have nothing at the seqs from to to. What is above the head and nowhere is no hole; if it was
// accepted, it is lost.
func (r *room) lacks(from, to int64, sides sides) {
	to = min(to, r.limit)
	if from > to || sides == 0 {
		return
	}
	if r.hole.sides == sides && r.hole.to == from-1 {
		r.hole.to = to
		return
	}
	r.endHole()
	r.hole = hole{from, to, sides}
}

// owed leaves out of the sides that lack a seq those that the outbox would still have brought it to: what waits there at
// rest is not stored, which is a violation of its own, and not lost.
func (r *room) owed(seq int64, lacking sides) sides {
	if r.waiting[seq] {
		return lacking &^ (inHistory | inTable)
	}
	return lacking
}

func (r *room) endHole() {
	h := r.hole
	r.hole = hole{}
	if h.sides == 0 {
		return
	}
	r.report(KindGap, 1, h.from, "", func() string {
		return fmt.Sprintf("The room %s has nothing at %s in %s; its head is %d.", r.Name, seqs(h.from, h.to), h.sides, r.Head)
	})
}

func (r *room) report(kind string, n int, seq int64, id string, text func() string) {
	r.c.report(n, Violation{Kind: kind, Room: r.Name, Seq: seq, ID: id}, text)
}

// eventAt finds an event of the history by its seq. In a dense history it looks once.
func (r *room) eventAt(seq int64) (at []Event) {
	first := int(seq - 1)
	if seq < 1 || seq > int64(len(r.History)) || r.History[first].Seq != seq || (first > 0 && r.History[first-1].Seq == seq) {
		first, _ = slices.BinarySearchFunc(r.History, seq, func(e Event, seq int64) int { return cmp.Compare(e.Seq, seq) })
	}
	at, _ = cut(r.History[first:], func(e *Event) bool { return e.Seq == seq })
	return at
}

// digestOf is what an event must have that stands for a send.
func digestOf(s *Send, sentAt time.Time) Digest {
	return DigestOf(s.ID, s.Sender, s.Text, sentAt, events.KindMessage)
}
