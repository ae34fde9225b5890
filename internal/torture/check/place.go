package check

import "fmt"

// place is all that there is at one seq of a room.
type place struct {
	seq             int64
	history, stored []Event
	keys            []Key
	sends           []placed // accepted with this seq
}

// message is what a place has of one message.
type message struct {
	name
	sides           sides
	history, stored *Event
}

func (at *place) empty() (e sides) {
	if len(at.history) == 0 {
		e |= inHistory
	}
	if len(at.stored) == 0 {
		e |= inTable
	}
	if len(at.keys) == 0 {
		e |= inKeys
	}
	return e
}

// messages sorts what is at a place by message: one, unless something is wrong.
func (at *place) messages(into []message) []message {
	get := func(n name) *message {
		for i := range into {
			if into[i].name == n {
				return &into[i]
			}
		}
		into = append(into, message{name: n})
		return &into[len(into)-1]
	}
	for i := range at.history {
		e := &at.history[i]
		m := get(name{e.From, e.ID})
		m.sides |= inHistory
		m.history = e
	}
	for i := range at.stored {
		e := &at.stored[i]
		m := get(name{e.From, e.ID})
		m.sides |= inTable
		m.stored = e
	}
	for _, k := range at.keys {
		get(name{k.Sender, k.ID}).sides |= inKeys
	}
	return into
}

// judgePlace compares the sides at one seq with each other and with the sends that were accepted there.
func (r *room) judgePlace(at place) {
	messages := at.messages(r.scratch[:0])
	r.scratch = messages
	r.judgeAgreement(at, messages)

	for _, m := range messages {
		claimed := false
		for _, p := range at.sends {
			if s := &r.c.sends[p.send]; s.Sender == m.from && s.ID == m.id {
				claimed = true
				r.judgeContent(s, at.seq, m)
				if lacking := r.owed(at.seq, everywhere&^m.sides); lacking != 0 {
					r.missing = append(r.missing, missing{p.send, lacking})
				}
			}
		}
		if !claimed {
			r.judgeUnclaimed(at.seq, m)
		}
	}
	for _, p := range at.sends {
		s := &r.c.sends[p.send]
		r.order = append(r.order, p)
		if !has(messages, name{s.Sender, s.ID}) {
			r.missing = append(r.missing, missing{p.send, everywhere})
		}
	}
}

func has(messages []message, n name) bool {
	for i := range messages {
		if messages[i].name == n {
			return true
		}
	}
	return false
}

// judgeAgreement asks for one message at a place, and for the same one on all sides.
func (r *room) judgeAgreement(at place, messages []message) {
	if at.seq < 1 {
		r.report(KindAltered, 1, at.seq, "", func() string {
			return fmt.Sprintf("%s has a seq %d; seqs begin at 1.", r.Name, at.seq)
		})
	}
	if n := max(len(at.history), len(at.stored), len(at.keys), len(at.sends)); n > 1 {
		r.report(KindDuplicated, n-1, at.seq, "", func() string {
			return fmt.Sprintf("Seq %d of %s was given more than once (history %d, table %d, keys %d, accepted sends %d)%s.",
				at.seq, r.Name, len(at.history), len(at.stored), len(at.keys), len(at.sends), listed(messages))
		})
		return
	}
	if len(messages) > 1 {
		r.report(KindDisagree, 1, at.seq, messages[0].id, func() string {
			return fmt.Sprintf("Seq %d of %s is not the same message everywhere%s.", at.seq, r.Name, listed(messages))
		})
		return
	}
	if len(messages) == 1 {
		m := messages[0]
		if m.history != nil && m.stored != nil && m.history.Digest != m.stored.Digest {
			r.report(KindDisagree, 1, at.seq, m.id, func() string {
				return fmt.Sprintf("At seq %d of %s the history and the table have %s with another content: sent_at is %s in the history and %s in the table%s.",
					at.seq, r.Name, m.name, stamp(m.history.SentAt), stamp(m.stored.SentAt), sameTime(m.history.SentAt, m.stored.SentAt))
			})
		}
	}
}

// judgeContent compares a send with what stands for it. It counts once, however many sides have it wrong.
func (r *room) judgeContent(s *Send, seq int64, m message) {
	for _, e := range [...]*Event{m.history, m.stored} {
		if e == nil {
			continue
		}
		sentAt := s.SentAt
		if s.Accepted == 0 { // nobody told the sender
			sentAt = e.SentAt
		}
		if e.Digest == digestOf(s, sentAt) {
			continue
		}
		where := inHistory
		if e == m.stored {
			where = inTable
		}
		r.report(KindAltered, 1, seq, s.ID, func() string { return altered(s, seq, e, where) })
		return
	}
}

// judgeUnclaimed looks for a send of unknown outcome behind a message that nobody was told of.
func (r *room) judgeUnclaimed(seq int64, m message) {
	o := r.open[m.name]
	if o == nil {
		r.strays = append(r.strays, stray{m.name, r.Name, seq, m.sides})
		return
	}
	s := &r.c.sends[o.send]
	switch {
	case s.Refused != "":
		r.report(KindRefused, 1, seq, s.ID, func() string {
			return fmt.Sprintf("%s and was refused with %s, but it is at seq %d in %s.", tellSent(s), s.Refused, seq, m.sides)
		})
	case o.sides&m.sides != 0:
		r.report(KindDuplicated, 1, seq, s.ID, func() string {
			return fmt.Sprintf("%s and never read an answer; it is there twice, at seq %d and at seq %d (in %s).",
				tellSent(s), o.seq, seq, m.sides)
		})
	}
	r.judgeContent(s, seq, m)
	if o.seq == 0 {
		o.seq = seq
		r.order = append(r.order, placed{seq, o.send})
	}
	o.sides |= m.sides
}
