package check

import "fmt"

// judgeMissing decides what became of the accepted sends that are not at their seq: at another one, or lost. What is left
// of the strays after that is judged over all rooms.
func (r *room) judgeMissing() {
	if len(r.missing)+len(r.strays) == 0 {
		return
	}
	lacking := make(map[name]int, len(r.missing)) // into r.missing
	for i, m := range r.missing {
		s := &r.c.sends[m.send]
		lacking[name{s.Sender, s.ID}] = i
	}
	for _, st := range r.strays {
		if i, ok := lacking[st.name]; ok {
			m := &r.missing[i]
			if moved := m.sides & st.sides; moved != 0 {
				s := &r.c.sends[m.send]
				r.report(KindAltered, 1, s.Seq, s.ID, func() string {
					return fmt.Sprintf("%s, but at seq %d in %s.", tellAccepted(s), st.seq, moved)
				})
				m.sides &^= moved
				st.sides &^= moved
			}
		}
		if st.sides != 0 {
			r.c.strays = append(r.c.strays, st)
		}
	}
	for _, m := range r.missing {
		if m.sides == 0 {
			continue
		}
		s := &r.c.sends[m.send]
		r.report(KindLost, 1, s.Seq, s.ID, func() string {
			return fmt.Sprintf("%s, but it is not in %s%s.", tellAccepted(s), m.sides, r.instead(s))
		})
	}
}

// instead tells what the history has at the seq of a lost message.
func (r *room) instead(s *Send) string {
	for _, e := range r.eventAt(s.Seq) {
		if e.From != s.Sender || e.ID != s.ID {
			return fmt.Sprintf("; at seq %d the history has %s", s.Seq, name{e.From, e.ID})
		}
	}
	return ""
}

// judgeStrays decides about events that stand where no send of their room was accepted: the second copy of a message, one
// that was sent to another room, or an invention.
func (c *checker) judgeStrays() {
	if len(c.strays) == 0 {
		return
	}
	sent := make(map[name]*Send, len(c.strays))
	for _, st := range c.strays {
		sent[st.name] = nil
	}
	for i := range c.sends {
		s := &c.sends[i]
		if _, ok := sent[name{s.Sender, s.ID}]; ok {
			sent[name{s.Sender, s.ID}] = s
		}
	}
	for _, st := range c.strays {
		v := Violation{Room: st.room, Seq: st.seq, ID: st.id}
		s := sent[st.name]
		switch {
		case s == nil:
			v.Kind = KindInvented
			c.report(1, v, func() string {
				return fmt.Sprintf("Seq %d of %s is %s in %s, but nobody sent that.", st.seq, st.room, st.name, st.sides)
			})
		case s.Room != st.room:
			v.Kind = KindInvented
			c.report(1, v, func() string {
				return fmt.Sprintf("%s, but it is in %s, at seq %d in %s.", tellSent(s), st.room, st.seq, st.sides)
			})
		default:
			v.Kind = KindDuplicated
			c.report(1, v, func() string {
				return fmt.Sprintf("%s; it is there once more at seq %d, in %s.", tellAccepted(s), st.seq, st.sides)
			})
		}
	}
}
