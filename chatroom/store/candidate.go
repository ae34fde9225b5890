package store

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/events"
)

// key is what the idempotency of a send hangs on.
type key struct{ sender, id string }

// prior is what is known of a key: a message that was accepted, in an earlier transaction or earlier in this batch.
type prior struct {
	room   string
	seq    int64
	digest [sha256.Size]byte
	sentAt time.Time
}

// candidate is a send that passed check, with what can be computed before any lock is held.
type candidate struct {
	at     int // index in the caller's sends
	send   Send
	digest [sha256.Size]byte
}

// candidates checks the sends. The refused ones get their receipt here.
func candidates(sends []Send, receipts []Receipt) []candidate {
	cs := make([]candidate, 0, len(sends))
	for i, s := range sends {
		if err := check(s); err != nil {
			receipts[i] = Receipt{Err: err}
			continue
		}
		s.SentAt = s.SentAt.UTC().Truncate(time.Millisecond)
		cs = append(cs, candidate{at: i, send: s, digest: sha256.Sum256([]byte(s.Text))})
	}
	return cs
}

// check refuses what some database on the way would refuse or change. The text itself stands inside the payload here,
// where anything fits, but the history keeps it as SQL text: what cannot be stored must not be accepted.
func check(s Send) error {
	for _, f := range []struct{ name, value string }{{"sender", s.Sender}, {"id", s.ID}, {"room", s.Room}, {"text", s.Text}} {
		switch {
		case f.value == "" && f.name != "text":
			return fmt.Errorf("%w: %s is empty", ErrBadRow, f.name)
		case !utf8.ValidString(f.value):
			return fmt.Errorf("%w: %s is not valid UTF-8", ErrBadRow, f.name)
		case strings.ContainsRune(f.value, 0):
			return fmt.Errorf("%w: %s contains U+0000", ErrBadRow, f.name)
		}
	}
	if s.SentAt.IsZero() {
		return fmt.Errorf("%w: sent_at is missing", ErrBadRow)
	}
	return nil
}

// rooms returns the rooms of the candidates, each once, sorted.
func rooms(cs []candidate) []string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = c.send.Room
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// judge makes the receipt of a candidate from what stands under its key; before tells that it stood there already.
func judge(c candidate, a prior, before bool) Receipt {
	if a.room != c.send.Room || a.digest != c.digest {
		return Receipt{Err: ErrIDConflict}
	}
	return Receipt{Seq: a.seq, SentAt: a.sentAt, Duplicate: before}
}

func message(s Send, seq int64) events.MessageSent {
	return events.MessageSent{
		Room: s.Room, Seq: seq, Kind: events.KindMessage, ID: s.ID, From: s.Sender, Text: s.Text, SentAt: s.SentAt,
	}
}

// decodeTail reads payloads of the outbox.
func decodeTail(room string, payloads [][]byte) ([]events.MessageSent, error) {
	all := make([]events.MessageSent, 0, len(payloads))
	for _, b := range payloads {
		m, err := events.DecodeMessageSent(b)
		if err != nil {
			return nil, fmt.Errorf("outbox of %s: %w", room, err)
		}
		all = append(all, m)
	}
	return all, nil
}
