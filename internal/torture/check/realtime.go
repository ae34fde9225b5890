package check

import (
	"cmp"
	"fmt"
	"slices"
)

// judgeRealTime holds a room to real time: a message that was accepted before another was first sent has the lower seq.
// It walks from the highest seq down with the earliest acceptance above; a send that began after that is out of order.
// Each such send counts once, with the earliest accepted one above it as its witness.
//
// A send of unknown outcome whose seq the room knows counts too, as one that was never accepted.
func (r *room) judgeRealTime() {
	r.order = sortedBy(r.order, func(a, b placed) int { return cmp.Compare(a.seq, b.seq) })

	var late []outOfOrder
	witness := -1 // of checker.sends: the earliest accepted of all with a higher seq
	for end := len(r.order); end > 0; {
		begin := end - 1 // equal seqs are no order
		for begin > 0 && r.order[begin-1].seq == r.order[end-1].seq {
			begin--
		}
		for _, p := range r.order[begin:end] {
			if witness >= 0 && r.c.sends[witness].Accepted < r.c.sends[p.send].First {
				late = append(late, outOfOrder{p, witness})
			}
		}
		for _, p := range r.order[begin:end] {
			s := &r.c.sends[p.send]
			if s.Accepted != 0 && (witness < 0 || s.Accepted < r.c.sends[witness].Accepted) {
				witness = p.send
			}
		}
		end = begin
	}
	for _, l := range slices.Backward(late) { // from the lowest seq up
		b, a := l.placed, &r.c.sends[l.witness]
		s := &r.c.sends[b.send]
		r.report(KindOutOfOrder, 1, b.seq, s.ID, func() string {
			return fmt.Sprintf("%s, after %s of %s had been accepted at %s, and yet it has seq %d, below seq %d of the earlier one.",
				tellSent(s), a.ID, a.Sender, a.Accepted, b.seq, a.Seq)
		})
	}
}

// outOfOrder is a send with a lower seq than one that was accepted before it began.
type outOfOrder struct {
	placed
	witness int
}
