package check

import (
	"fmt"
	"maps"
	"slices"
)

// judgeReader follows a reader from where it joined: each event is the next one, and the one that the history has. A
// reader that is still there must have come to the head.
func (r *room) judgeReader(reader *Reader) {
	next := reader.After + 1
	var holes []hole        // seqs that were passed over, in order
	var late map[int64]bool // of those, what came later
	for i := range reader.Events {
		e := reader.Events[i]
		switch {
		case e.Seq == next:
			next++
		case e.Seq > next:
			holes = append(holes, hole{from: next, to: e.Seq - 1})
			next = e.Seq + 1
		case isIn(holes, e.Seq) && !late[e.Seq]:
			if late == nil {
				late = make(map[int64]bool)
			}
			late[e.Seq] = true
			r.report(KindOutOfOrder, 1, e.Seq, "", func() string {
				return fmt.Sprintf("%s was shown seq %d of %s after seq %d.", reader.Name, e.Seq, r.Name, next-1)
			})
		default:
			r.report(KindDuplicated, 1, e.Seq, "", func() string {
				return fmt.Sprintf("%s was shown seq %d of %s though it had everything up to seq %d.", reader.Name, e.Seq, r.Name, next-1)
			})
		}
		r.judgeShown(reader, e)
	}
	came := slices.Sorted(maps.Keys(late))
	for _, h := range holes {
		for len(came) > 0 && came[0] <= h.to {
			r.reportReaderHole(reader, h.from, came[0]-1)
			h.from, came = came[0]+1, came[1:]
		}
		r.reportReaderHole(reader, h.from, h.to)
	}
	if reader.Live && next <= r.Head {
		r.report(KindGap, 1, next, "", func() string {
			return fmt.Sprintf("%s was connected to the end, but the last event of %s that it was shown is seq %d, and the head is %d.",
				reader.Name, r.Name, next-1, r.Head)
		})
	}
}

func (r *room) reportReaderHole(reader *Reader, from, to int64) {
	if from > to {
		return
	}
	r.report(KindGap, 1, from, "", func() string {
		return fmt.Sprintf("%s, which reads %s from seq %d on, was never shown %s, but was shown what follows.",
			reader.Name, r.Name, reader.After+1, seqs(from, to))
	})
}

func isIn(holes []hole, seq int64) bool {
	_, ok := slices.BinarySearchFunc(holes, seq, func(h hole, seq int64) int {
		switch {
		case h.to < seq:
			return -1
		case h.from > seq:
			return 1
		}
		return 0
	})
	return ok
}

// judgeShown compares what a reader was shown with the history.
func (r *room) judgeShown(reader *Reader, e Seen) {
	at := r.eventAt(e.Seq)
	if slices.ContainsFunc(at, func(h Event) bool { return h.Digest == e.Digest }) {
		return
	}
	if len(at) == 0 && r.waiting[e.Seq] {
		return // the history cannot have it yet
	}
	r.report(KindDisagree, 1, e.Seq, "", func() string {
		there := "has nothing there"
		if len(at) > 0 {
			there = fmt.Sprintf("has %s there, or another content of it", name{at[0].From, at[0].ID})
		}
		return fmt.Sprintf("%s was shown %s as seq %d of %s, and the history %s.", reader.Name, r.whose(e.Digest), e.Seq, r.Name, there)
	})
}

// whose finds the message that a reader was shown, among what was accepted and what the room has. It reads everything, and
// is for the few violations that are explained.
func (r *room) whose(d Digest) string {
	for i := range r.History {
		if e := &r.History[i]; e.Digest == d {
			return fmt.Sprintf("%s (seq %d of the history)", name{e.From, e.ID}, e.Seq)
		}
	}
	for _, i := range r.sends {
		if s := &r.c.sends[i]; s.Accepted != 0 && digestOf(s, s.SentAt) == d {
			return name{s.Sender, s.ID}.String()
		}
	}
	return fmt.Sprintf("something that nobody else has (digest %x)", d[:4])
}
