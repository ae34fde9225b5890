package check

import (
	"fmt"
	"strings"
	"time"
)

// sides are the places where an accepted message must be.
type sides uint8

const (
	inHistory sides = 1 << iota
	inTable
	inKeys

	everywhere = inHistory | inTable | inKeys
)

func (s sides) String() string {
	var parts []string
	for i, text := range [...]string{"the history", "the table persister.messages", "the keys chatroom.accepted"} {
		if s&(1<<i) != 0 {
			parts = append(parts, text)
		}
	}
	return join(parts)
}

func (n name) String() string { return fmt.Sprintf("%s of %s", n.id, n.from) }

// join makes "a, b and c".
func join(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// listed tells which message each side has, for a sentence that goes before.
func listed(messages []message) string {
	if len(messages) == 0 {
		return ""
	}
	var parts []string
	for _, m := range messages {
		parts = append(parts, fmt.Sprintf("%s in %s", m.name, m.sides))
	}
	return ": " + strings.Join(parts, "; ")
}

// tellSent is the beginning of a story: "ann sent 0193b to ops at 1.2s".
func tellSent(s *Send) string {
	tries := ""
	if s.Tries > 1 {
		tries = fmt.Sprintf(" (%d tries)", s.Tries)
	}
	return fmt.Sprintf("%s sent %s to %s at %s%s", s.Sender, s.ID, s.Room, s.First, tries)
}

// tellAccepted goes on with what the sender was told.
func tellAccepted(s *Send) string {
	return fmt.Sprintf("%s and read at %s that it was accepted with seq %d", tellSent(s), s.Accepted, s.Seq)
}

// altered tells what is wrong with the event that stands for a send.
func altered(s *Send, seq int64, e *Event, where sides) string {
	story := tellSent(s) + " and never read an answer"
	if s.Accepted != 0 {
		story = tellAccepted(s)
		if digestOf(s, e.SentAt) == e.Digest {
			return fmt.Sprintf("%s and sent_at %s, but sent_at is %s in %s.", story, stamp(s.SentAt), stamp(e.SentAt), where)
		}
	}
	return fmt.Sprintf("%s, but at seq %d its content is another one in %s: not the text that was sent, or not the kind.", story, seq, where)
}

// seqs names one seq or several.
func seqs(from, to int64) string {
	if from == to {
		return fmt.Sprintf("seq %d", from)
	}
	return fmt.Sprintf("seqs %d to %d", from, to)
}

// sameTime says where else the difference is if it is not in the times.
func sameTime(a, b time.Time) string {
	if a.Equal(b) {
		return ", so that the texts differ"
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
