package events

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A MessageSent is encoded once and decoded once for each message, and encoding/json, with its reflection and its three
// passes over a batch, was the dearest part of it. So its encoding is written, and read, by hand here. What is written is
// what encoding/json writes, to the byte. What is read is only that form, fields in this order and nothing between them;
// anything else is left to encoding/json, which alone knows what is malformed. Fuzz tests compare the two.

// appendMessageSent appends the envelope of a message; ok is false where encoding/json has to do it.
func appendMessageSent(b []byte, m *MessageSent, traceparent string) (_ []byte, ok bool) {
	if y := m.SentAt.Year(); y < 0 || y > 9999 {
		return nil, false
	}
	if _, offset := m.SentAt.Zone(); offset != 0 {
		return nil, false // encoding/json has its own idea of what an offset may be
	}
	var at [len(time.RFC3339Nano)]byte
	sentAt := m.SentAt.AppendFormat(at[:0], time.RFC3339Nano)

	b = append(b, `{"specversion":"1.0","id":`...)
	b = appendString(b, EventID(m.Room, m.Seq))
	b = append(b, `,"type":"`+TypeMessageSent+`","source":"`+SourceChatroom+`"`...)
	if m.Room != "" {
		b = appendString(append(b, `,"subject":`...), m.Room)
	}
	b = append(append(append(b, `,"time":"`...), sentAt...), `","datacontenttype":"application/json"`...)
	if traceparent != "" {
		b = appendString(append(b, `,"traceparent":`...), traceparent)
	}
	b = appendString(append(b, `,"data":{"room":`...), m.Room)
	b = strconv.AppendInt(append(b, `,"seq":`...), m.Seq, 10)
	b = appendString(append(b, `,"kind":`...), m.Kind)
	b = appendString(append(b, `,"id":`...), m.ID)
	b = appendString(append(b, `,"from":`...), m.From)
	b = appendString(append(b, `,"text":`...), m.Text)
	return append(append(append(b, `,"sent_at":"`...), sentAt...), `"}}`...), true
}

// appendString appends s as JSON. What may need an escape is left to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := marshal(s) // a string can be marshalled
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// scanner reads the canonical form. After the first thing that is not so, failed is set. Its strings are parts of rest.
type scanner struct {
	rest   string
	failed bool
	skim   bool // only looks where an envelope ends
}

// skip expects these bytes.
func (s *scanner) skip(want string) { s.failed = !s.next(want) || s.failed }

// next tells whether these bytes come, and skips them then.
func (s *scanner) next(want string) bool {
	if !strings.HasPrefix(s.rest, want) {
		return false
	}
	s.rest = s.rest[len(want):]
	return true
}

// raw reads a string, and returns what stands between its quotation marks.
func (s *scanner) raw() (raw string, escaped bool) {
	s.skip(`"`)
	for i := 0; i < len(s.rest) && !s.failed; i++ {
		switch c := s.rest[i]; {
		case c == '"':
			raw, s.rest = s.rest[:i], s.rest[i+1:]
			return raw, escaped
		case c == '\\':
			escaped = true
			i++
		case c < 0x20:
			s.failed = true
		}
	}
	s.failed = true
	return "", false
}

// text reads a string that is not empty.
func (s *scanner) text() (text string) {
	raw, escaped := s.raw()
	switch {
	case raw == "" || !utf8.ValidString(raw): // encoding/json replaces what is not UTF-8
		s.failed = true
	case !escaped:
		text = raw
	default:
		s.failed = s.failed || json.Unmarshal([]byte(`"`+raw+`"`), &text) != nil
	}
	return text
}

// time reads a time in quotation marks. Here, too, an envelope that is only skimmed is not judged.
func (s *scanner) time() (t time.Time, raw string) {
	raw, escaped := s.raw()
	s.failed = s.failed || escaped || !s.skim && t.UnmarshalText([]byte(raw)) != nil
	return t, raw
}

// seq reads a number from 1.
func (s *scanner) seq() int64 {
	digits := len(s.rest) - len(strings.TrimLeft(s.rest, "0123456789"))
	n, err := strconv.ParseInt(s.rest[:digits], 10, 64)
	s.failed = s.failed || err != nil || n < 1 || s.rest[0] == '0'
	s.rest = s.rest[digits:]
	return n
}

// messageSent reads an envelope.
func (s *scanner) messageSent() (m MessageSent) {
	s.skip(`{"specversion":"1.0","id":`)
	s.text()
	s.skip(`,"type":"` + TypeMessageSent + `","source":"` + SourceChatroom + `"`)
	if s.next(`,"subject":`) {
		s.text()
	}
	s.skip(`,"time":`)
	at, raw := s.time()
	s.skip(`,"datacontenttype":"application/json"`)
	if s.next(`,"traceparent":`) {
		s.text()
	}
	s.skip(`,"data":{"room":`)
	m.Room = s.text()
	s.skip(`,"seq":`)
	m.Seq = s.seq()
	s.skip(`,"kind":`)
	m.Kind = s.text()
	s.skip(`,"id":`)
	m.ID = s.text()
	s.skip(`,"from":`)
	m.From = s.text()
	s.skip(`,"text":`)
	if !s.next(`""`) {
		m.Text = s.text()
	}
	s.skip(`,"sent_at":`)
	if s.next(`"` + raw + `"`) { // as a rule it is the same
		m.SentAt = at
	} else {
		m.SentAt, _ = s.time()
	}
	s.skip(`}}`)
	s.failed = s.failed || !s.skim && m.SentAt.IsZero()
	return m
}

// decodeCanonical reads one envelope; ok is false where encoding/json has to look at it.
func decodeCanonical(b []byte) (m MessageSent, ok bool) {
	s := scanner{rest: string(b)}
	m = s.messageSent()
	return m, !s.failed && s.rest == ""
}

// splitCanonical returns the envelopes of a batch; ok is false where encoding/json has to look at it.
func splitCanonical(body []byte) (parts []json.RawMessage, ok bool) {
	s := scanner{rest: string(body), skim: true}
	s.skip(`[`)
	for end := false; !end && !s.failed; {
		from := len(body) - len(s.rest)
		s.messageSent()
		to := len(body) - len(s.rest)
		parts = append(parts, json.RawMessage(body[from:to:to]))
		if end = s.next(`]`); !end {
			s.skip(`,`)
		}
	}
	return parts, !s.failed && s.rest == ""
}
