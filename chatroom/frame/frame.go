// Package frame holds the frames of the wire protocol chat.v1 (docs/protocol.md), shared by the chat room and its
// clients. It imports only the standard library. It checks what a single frame can be checked for; what needs state
// (a join, a rate) is the session's business.
package frame

import (
	"bytes"
	"encoding/json"
	"time"
)

// Protocol is the WebSocket subprotocol.
const Protocol = "chat.v1"

// Bounds of the protocol, in bytes unless said otherwise.
const (
	MaxFrame      = 64 << 10
	MaxText       = 4096
	MaxID         = 64 // characters
	MaxRoom       = 64 // characters
	MaxName       = 50 // characters
	MaxHistory    = 200
	DefaultTail   = 50  // events that follow a join without "after"
	MembersListed = 100 // above it, presence carries only a count
)

// Types of client frames.
const (
	TypeHello   = "hello"
	TypeJoin    = "join"
	TypeLeave   = "leave"
	TypeSend    = "send"
	TypeHistory = "history"
	TypeTyping  = "typing"
)

// Types of server frames; typing goes both ways.
const (
	TypeWelcome  = "welcome"
	TypeJoined   = "joined"
	TypeEvents   = "events"
	TypeAccepted = "accepted"
	TypeStored   = "stored"
	TypeHeads    = "heads"
	TypePresence = "presence"
	TypeError    = "error"
	TypeBye      = "bye"
)

// ValidRoom tells whether s is a room's name: 1 to [MaxRoom] of letters, digits, '.', '_', '-'.
func ValidRoom(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(s) && len(s) <= MaxRoom
}

// Event is one change of a room.
type Event struct {
	Seq    int64     `json:"seq"`
	Kind   string    `json:"kind"`
	ID     string    `json:"id"`
	From   string    `json:"from"`
	SentAt time.Time `json:"sent_at"`
	Text   string    `json:"text"`
}

// Client is a frame from a client, as [Parse] returns it: Type is known, and the fields of that type are within their
// bounds. Pointers are nil where the field was absent.
type Client struct {
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"`
	Name   string `json:"name,omitempty"`
	Token  string `json:"token,omitempty"`
	Agent  string `json:"client,omitempty"`
	Room   string `json:"room,omitempty"`
	After  *int64 `json:"after,omitempty"`
	Before *int64 `json:"before,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
	Text   string `json:"text,omitempty"`
	Limit  *int   `json:"limit,omitempty"`
}

// Limits are told in [Welcome].
type Limits struct {
	TextBytes int     `json:"text_bytes"`
	RatePerS  float64 `json:"rate_per_s"` // 0: no limit
	Burst     int     `json:"burst"`
	Rooms     int     `json:"rooms"`
}

// Welcome answers a hello.
type Welcome struct {
	Type        string `json:"type"`
	ID          string `json:"id,omitempty"`
	Protocol    string `json:"protocol"`
	User        string `json:"user"`
	Session     string `json:"session"`
	Epoch       string `json:"epoch"`
	HeartbeatMS int64  `json:"heartbeat_ms"`
	Limits      Limits `json:"limits"`
	Server      string `json:"server"`
}

// Joined answers a join; the events after it follow.
type Joined struct {
	Type    string   `json:"type"`
	ID      string   `json:"id,omitempty"`
	Room    string   `json:"room"`
	Epoch   string   `json:"epoch"`
	Head    int64    `json:"head"`
	Stored  int64    `json:"stored"`
	Reset   bool     `json:"reset,omitempty"`
	Members []string `json:"members"` // at most [MembersListed] of them
	Count   int      `json:"count"`   // of all members
}

// Events is the only frame that carries events. Complete is set in a page of history: nothing follows in the direction
// that was asked for.
type Events struct {
	Type     string  `json:"type"`
	ID       string  `json:"id,omitempty"`
	Room     string  `json:"room"`
	Events   []Event `json:"events"`
	Complete *bool   `json:"complete,omitempty"`
}

// Accepted says that a send is committed.
type Accepted struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Room      string    `json:"room"`
	Seq       int64     `json:"seq"`
	SentAt    time.Time `json:"sent_at"`
	Duplicate bool      `json:"duplicate,omitempty"`
}

// Stored is cumulative.
type Stored struct {
	Type string `json:"type"`
	Room string `json:"room"`
	Seq  int64  `json:"seq"`
}

// Heads comes with every heartbeat.
type Heads struct {
	Type  string           `json:"type"`
	Rooms map[string]int64 `json:"rooms"`
}

// Presence tells a change of a room's members. Joined and Left are nil above [MembersListed] members.
type Presence struct {
	Type   string   `json:"type"`
	Room   string   `json:"room"`
	Joined []string `json:"joined,omitzero"`
	Left   []string `json:"left,omitzero"`
	Count  int      `json:"count"`
}

// Typing is pushed to the other members.
type Typing struct {
	Type string `json:"type"`
	Room string `json:"room"`
	From string `json:"from"`
}

// Bye is the last frame before the close frame, which carries the same code.
type Bye struct {
	Type    string    `json:"type"`
	Code    int       `json:"code"`
	Message string    `json:"message"`
	RetryMS *[2]int64 `json:"retry_ms,omitempty"`
}

// History is the body of the HTTP twin of a page of history.
type History struct {
	Room     string  `json:"room"`
	Head     int64   `json:"head"`
	Stored   int64   `json:"stored"`
	Complete bool    `json:"complete"`
	Events   []Event `json:"events"`
}

// Server is any frame from a server, for clients: the union of the fields. Unknown types are to be ignored.
type Server struct {
	Type         string           `json:"type"`
	ID           string           `json:"id"`
	Room         string           `json:"room"`
	Protocol     string           `json:"protocol"`
	User         string           `json:"user"`
	Session      string           `json:"session"`
	Epoch        string           `json:"epoch"`
	HeartbeatMS  int64            `json:"heartbeat_ms"`
	Limits       Limits           `json:"limits"`
	Server       string           `json:"server"`
	Head         int64            `json:"head"`
	Stored       int64            `json:"stored"`
	Reset        bool             `json:"reset"`
	Members      []string         `json:"members"`
	Events       []Event          `json:"events"`
	Complete     *bool            `json:"complete"`
	Seq          int64            `json:"seq"`
	SentAt       time.Time        `json:"sent_at"`
	Duplicate    bool             `json:"duplicate"`
	Rooms        map[string]int64 `json:"rooms"`
	Joined       []string         `json:"joined"`
	Left         []string         `json:"left"`
	Count        int              `json:"count"`
	From         string           `json:"from"`
	Code         json.RawMessage  `json:"code"` // a string in error, a number in bye
	Message      string           `json:"message"`
	Retry        bool             `json:"retry"`
	RetryAfterMS int64            `json:"retry_after_ms"`
	RetryMS      *[2]int64        `json:"retry_ms"`
}

// Encode is json.Marshal for the frames of this package, without the HTML escapes.
func Encode(v any) []byte {
	if b, ok := encodePlain(v); ok {
		return b
	}
	return encode(v)
}

// encode is Encode for any frame.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only for a type that JSON cannot hold, which no frame is
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

// AppendEvents appends an events frame to b from events that are encoded already: the log of a room encodes each event
// once for all its readers.
func AppendEvents(b []byte, room string, encoded [][]byte) []byte {
	b = append(b, `{"type":"events","room":"`...)
	b = append(b, room...) // a valid name needs no escape
	b = append(b, `","events":[`...)
	for i, e := range encoded {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, `]}`...)
}
