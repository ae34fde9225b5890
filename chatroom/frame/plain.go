package frame

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What comes for each message is read and written by hand in its usual form, and by encoding/json in any other.

// plainSend reads the frame that comes for each message in its usual form: a send of four strings without an escape, in
// any order. The way of all other frames costs ten times as much. ok is false for everything else, valid or not.
func plainSend(b []byte) (c Client, ok bool) {
	if !utf8.Valid(b) {
		return Client{}, false
	}
	rest := strings.Trim(string(b), jsonSpace)
	for separator := "{"; rest != "}"; separator = "," {
		var name, value string
		if rest, ok = strings.CutPrefix(rest, separator); !ok {
			return Client{}, false
		}
		if name, rest, ok = plainString(rest); !ok {
			return Client{}, false
		}
		if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, jsonSpace), ":"); !ok {
			return Client{}, false
		}
		if value, rest, ok = plainString(rest); !ok || !c.set(name, value) {
			return Client{}, false
		}
		rest = strings.TrimLeft(rest, jsonSpace)
	}
	// The room's name may be kept for as long as the room, and would keep the whole frame.
	c.Room = strings.Clone(c.Room)
	return c, c.Type == TypeSend && ValidID(c.ID)
}

const jsonSpace = " \t\r\n"

// plainString reads a JSON string without an escape.
func plainString(s string) (value, rest string, ok bool) {
	s = strings.TrimLeft(s, jsonSpace)
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\' || c < 0x20:
			return "", "", false
		}
	}
	return "", "", false
}

// set takes a field of a send that has no value yet.
func (c *Client) set(name, value string) bool {
	var field *string
	switch name {
	case "type":
		field = &c.Type
	case "id":
		field = &c.ID
	case "room":
		field = &c.Room
	case "text":
		field = &c.Text
	}
	if field == nil || *field != "" || value == "" {
		return false
	}
	*field = value
	return true
}

// encodePlain writes what goes out for each message, to the byte as encoding/json does. ok is false for everything else.
func encodePlain(v any) (b []byte, ok bool) {
	switch v := v.(type) {
	case Accepted:
		b = make([]byte, 0, 128+len(v.ID)+len(v.Room))
		b = appendString(append(b, `{"type":`...), v.Type)
		b = appendString(append(b, `,"id":`...), v.ID)
		b = appendString(append(b, `,"room":`...), v.Room)
		b = strconv.AppendInt(append(b, `,"seq":`...), v.Seq, 10)
		if b, ok = appendTime(append(b, `,"sent_at":`...), v.SentAt); v.Duplicate {
			b = append(b, `,"duplicate":true`...)
		}
	case Event:
		b = make([]byte, 0, 128+len(v.Kind)+len(v.ID)+len(v.From)+len(v.Text))
		b = strconv.AppendInt(append(b, `{"seq":`...), v.Seq, 10)
		b = appendString(append(b, `,"kind":`...), v.Kind)
		b = appendString(append(b, `,"id":`...), v.ID)
		b = appendString(append(b, `,"from":`...), v.From)
		b, ok = appendTime(append(b, `,"sent_at":`...), v.SentAt)
		b = appendString(append(b, `,"text":`...), v.Text)
	}
	return append(b, '}'), ok
}

// appendString appends s as JSON. Where something may need an escape, encoding/json does it.
func appendString(b []byte, s string) []byte {
	if slices.ContainsFunc([]byte(s), func(c byte) bool { return c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf }) {
		return append(b, encode(s)...)
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendTime appends t as JSON. ok is false for a year or a zone of which encoding/json has its own idea.
func appendTime(b []byte, t time.Time) (_ []byte, ok bool) {
	year := t.Year()
	_, offset := t.Zone()
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"'), offset == 0 && 0 <= year && year <= 9999
}
