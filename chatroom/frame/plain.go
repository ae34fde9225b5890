package frame

import (
	"strings"
	"unicode/utf8"
)

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
