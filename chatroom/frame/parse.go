package frame

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads and checks a client frame. On error the returned frame still carries the id, where one could be read, and
// the error is the frame to answer with. Only the fields that the type has are looked at, by their exact names.
func Parse(b []byte) (Client, *Error) {
	if len(b) > MaxFrame {
		return Client{}, Errorf(TooLarge, "", "a frame is at most %d bytes", MaxFrame)
	}
	if c, ok := plainSend(b); ok {
		return c, c.check()
	}
	return parse(b)
}

// parse reads any frame.
func parse(b []byte) (Client, *Error) {
	f, err := parseFields(b)
	if err != nil {
		return Client{}, err
	}
	var c Client
	if c.ID, err = f.text("id"); err != nil || (c.ID == "" && f.has("id")) || (c.ID != "" && !ValidID(c.ID)) || CheckEncoding(f.m["id"]) != nil {
		return Client{}, Errorf(BadRequest, "", "id must be a string of 1 to %d characters", MaxID)
	}
	f.id = c.ID
	if err := CheckEncoding(b); err != nil {
		err.ID = c.ID
		return c, err
	}
	if c.Type, err = f.text("type"); err != nil || c.Type == "" {
		return c, Errorf(BadRequest, c.ID, "type is missing or not a string")
	}
	if err := c.read(f); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, err
	}
	return c, nil
}

// read takes the fields that the type has.
func (c *Client) read(f fields) *Error {
	var errs [4]*Error
	switch c.Type {
	case TypeHello:
		c.Name, errs[0] = f.text("name")
		c.Token, errs[1] = f.text("token")
		c.Agent, errs[2] = f.text("client")
	case TypeJoin:
		c.Room, errs[0] = f.text("room")
		c.After, errs[1] = f.number("after")
		c.Epoch, errs[2] = f.text("epoch")
	case TypeLeave, TypeTyping:
		c.Room, errs[0] = f.text("room")
	case TypeSend:
		c.Room, errs[0] = f.text("room")
		c.Text, errs[1] = f.text("text")
	case TypeHistory:
		c.Room, errs[0] = f.text("room")
		c.After, errs[1] = f.number("after")
		c.Before, errs[2] = f.number("before")
		var limit *int64
		if limit, errs[3] = f.number("limit"); limit != nil {
			n := int(max(-1, min(*limit, MaxHistory+1)))
			c.Limit = &n
		}
	default:
		return Errorf(UnknownType, c.ID, "unknown type %q", clip(c.Type))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// fields are an object's fields by their exact names: a decoder into a struct would take other cases of them as well.
type fields struct {
	m  map[string]json.RawMessage
	id string // for the errors
}

func parseFields(b []byte) (fields, *Error) {
	var f fields
	if err := json.Unmarshal(b, &f.m); err != nil {
		return f, Errorf(BadRequest, "", "this is not a JSON object: %s", jsonReason(err))
	}
	if f.m == nil {
		return f, Errorf(BadRequest, "", "this is not a JSON object: null")
	}
	return f, nil
}

func (f fields) has(name string) bool {
	raw, ok := f.m[name]
	return ok && string(raw) != "null"
}

// text returns a string field, or "" where it is absent.
func (f fields) text(name string) (s string, err *Error) {
	if f.has(name) && json.Unmarshal(f.m[name], &s) != nil {
		return "", Errorf(BadRequest, f.id, "%s must be a string", name)
	}
	return s, nil
}

// number returns a whole number, or nil where it is absent.
func (f fields) number(name string) (*int64, *Error) {
	if !f.has(name) {
		return nil, nil
	}
	var n int64
	if json.Unmarshal(f.m[name], &n) != nil {
		return nil, Errorf(BadRequest, f.id, "%s must be a whole number", name)
	}
	return &n, nil
}

// ParsePost reads and checks the body of a send over HTTP.
func ParsePost(id string, body []byte) (name, text string, err *Error) {
	defer func() {
		if err != nil {
			err.ID = id
		}
	}()
	if err = CheckEncoding(body); err != nil {
		return "", "", err
	}
	f, err := parseFields(body)
	if err != nil {
		return "", "", err
	}
	if text, err = f.text("text"); err != nil {
		return "", "", err
	}
	if name, err = f.text("name"); err != nil {
		return "", "", err
	}
	if err = CheckName(name); err != nil {
		return "", "", err
	}
	return name, text, CheckText(id, text)
}

// CheckEncoding checks what a JSON decoder would silently replace: bytes that are not UTF-8, and escapes that are no
// character.
func CheckEncoding(b []byte) *Error {
	switch {
	case !utf8.Valid(b):
		return Errorf(BadRequest, "", "this is not valid UTF-8")
	case loneSurrogate(b):
		return Errorf(BadRequest, "", "half of a surrogate pair is no character")
	}
	return nil
}

// loneSurrogate tells whether a JSON text escapes half of a surrogate pair. The decoder would put U+FFFD in its place,
// and the room would read something that nobody sent.
func loneSurrogate(b []byte) bool {
	for i := bytes.IndexByte(b, '\\'); i >= 0 && i+1 < len(b); {
		step := 2
		if r := escaped(b[i:]); utf16.IsSurrogate(r) {
			if utf16.DecodeRune(r, escaped(b[i+6:])) == utf8.RuneError {
				return true
			}
			step = 12
		}
		next := bytes.IndexByte(b[i+step:], '\\')
		if next < 0 {
			return false
		}
		i += step + next
	}
	return false
}

// escaped reads a \uXXXX at the start of b, or returns 0.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// ValidID tells whether s can be a request's id: 1 to 64 characters, none of them NUL, which no SQL text holds.
func ValidID(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= MaxID && !strings.ContainsRune(s, 0)
}

func (c *Client) check() *Error {
	if c.Type == TypeHello {
		return nil // a wrong hello has a close code of its own: see CheckName
	}
	if !ValidRoom(c.Room) {
		return Errorf(BadRequest, c.ID, "room must be 1 to %d of letters, digits, '.', '_', '-'", MaxRoom)
	}
	switch c.Type {
	case TypeJoin:
		if c.After != nil && *c.After < 0 {
			return Errorf(BadRequest, c.ID, "after must not be negative")
		}
	case TypeSend:
		if c.ID == "" {
			return Errorf(BadRequest, "", "a send needs an id")
		}
		return CheckText(c.ID, c.Text)
	case TypeHistory:
		if c.ID == "" {
			return Errorf(BadRequest, "", "history needs an id")
		}
		if (c.After == nil) == (c.Before == nil) {
			return Errorf(BadRequest, c.ID, "history needs either before or after")
		}
		if c.Limit == nil {
			return Errorf(BadRequest, c.ID, "history needs a limit, 1 to %d", MaxHistory)
		}
		return CheckPage(c.ID, c.After, c.Before, *c.Limit)
	}
	return nil
}

// CheckText checks the text of a send.
func CheckText(id, text string) *Error {
	switch {
	case len(text) > MaxText:
		return Errorf(TooLarge, id, "text is at most %d bytes, this one has %d", MaxText, len(text))
	case strings.TrimSpace(text) == "":
		return Errorf(BadRequest, id, "text must not be empty or only white space")
	case strings.ContainsRune(text, 0):
		return Errorf(BadRequest, id, "text must not contain U+0000")
	}
	return nil
}

// CheckPage checks the bounds of a page of history.
func CheckPage(id string, after, before *int64, limit int) *Error {
	switch {
	case after != nil && before != nil:
		return Errorf(BadRequest, id, "history takes before or after, not both")
	case after != nil && *after < 0:
		return Errorf(BadRequest, id, "after must not be negative")
	case before != nil && *before < 1:
		return Errorf(BadRequest, id, "before must be at least 1")
	case limit < 1 || limit > MaxHistory:
		return Errorf(BadRequest, id, "limit must be 1 to %d", MaxHistory)
	}
	return nil
}

// CheckName checks the name of a hello on an open server.
func CheckName(name string) *Error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > MaxName || strings.TrimSpace(name) != name || strings.ContainsFunc(name, isControl) {
		return Errorf(BadRequest, "", "name must be 1 to %d characters, without control characters or white space at its ends", MaxName)
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// jsonReason tells a JSON error in the words of the protocol, without naming Go types.
func jsonReason(err error) string {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return te.Value
	}
	return err.Error()
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
