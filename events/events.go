// Package events holds the contracts between the chat room and the persister: the facts they tell each other, their
// encoding, and the names of the exchanges and queues that carry them. It imports only the standard library, so that
// every side, and every test, can depend on it without depending on a broker.
//
// A fact travels as a CloudEvents 1.0 envelope in structured JSON (content type [ContentType]); several of one shard may
// travel together in CloudEvents' batch format, a JSON array (content type [ContentTypeBatch]). Every consumer takes both.
// The encoding is frozen by the golden files in testdata.
package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"
)

// Content types of an AMQP message, CloudEvents 1.0 JSON format §3 and §4.
const (
	ContentType      = "application/cloudevents+json"
	ContentTypeBatch = "application/cloudevents-batch+json"
)

// Sources name who speaks.
const (
	SourceChatroom  = "/gochat/chatroom"
	SourcePersister = "/gochat/persister"
)

// Types of the facts.
const (
	TypeMessageSent     = "gochat.MessageSent.v1"
	TypeMessagesStored  = "gochat.MessagesStored.v1"
	TypePresenceChanged = "gochat.PresenceChanged.v1"
	TypeTypingStarted   = "gochat.TypingStarted.v1"
)

// KindMessage is the kind of an event that adds a message to a room; later kinds share the same log.
const KindMessage = "message"

// Shards is how many parts the rooms are divided into for relaying. It is part of the contract: all replicas must agree.
// More would let more replicas relay, and put fewer events into a message, which is what a broker's cost depends on.
const Shards = 8

// Shard tells the shard of a room, 0 to [Shards]-1: FNV-1a of the name modulo [Shards].
func Shard(room string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(room)) // an fnv hash never fails
	return int(h.Sum32() % Shards)
}

// Envelope is a CloudEvents 1.0 event whose data is JSON.
type Envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Type            string          `json:"type"`
	Source          string          `json:"source"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// MessageSent says that the chat room accepted a message: it is committed, and Seq is its place in Room for ever.
type MessageSent struct {
	Room   string    `json:"room"`
	Seq    int64     `json:"seq"`
	Kind   string    `json:"kind"`
	ID     string    `json:"id"` // the sender's idempotency key
	From   string    `json:"from"`
	Text   string    `json:"text"`
	SentAt time.Time `json:"sent_at"` // UTC, whole milliseconds
}

// MessagesStored says, for each room named, that every event up to and including the seq is committed by the persister.
type MessagesStored struct {
	Rooms map[string]int64 `json:"rooms"`
}

// PresenceChanged tells the other replicas who is in which room on one replica. With Full set, Rooms is the whole state
// of Instance and replaces what was known of it; otherwise each room named replaces that room's members.
type PresenceChanged struct {
	Instance string              `json:"instance"`
	Full     bool                `json:"full,omitempty"`
	Ask      bool                `json:"ask,omitempty"`  // the sender is new: everybody please answer with Full
	Gone     bool                `json:"gone,omitempty"` // the instance stops; forget it
	Rooms    map[string][]string `json:"rooms,omitempty"`
}

// TypingStarted says that somebody types in a room. It may be lost.
type TypingStarted struct {
	Room     string `json:"room"`
	From     string `json:"from"`
	Instance string `json:"instance"`
}

// ErrMalformed is wrapped by every decoding error: the bytes are no envelope, or an envelope that breaks the contract.
// Trying again cannot help.
var ErrMalformed = errors.New("malformed event")

// EventID is the CloudEvents id of a room's event: unique with [SourceChatroom].
func EventID(room string, seq int64) string { return room + "/" + strconv.FormatInt(seq, 10) }

// Encode puts a MessageSent into its envelope. traceparent (W3C trace context) may be empty.
func (m MessageSent) Encode(traceparent string) ([]byte, error) {
	n := 320 + 3*len(m.Room) + len(m.Kind) + len(m.ID) + len(m.From) + len(m.Text) + len(traceparent)
	if b, ok := appendMessageSent(make([]byte, 0, n), &m, traceparent); ok {
		return b, nil
	}
	return m.encodeReflected(traceparent)
}

func (m MessageSent) encodeReflected(traceparent string) ([]byte, error) {
	return encode(Envelope{
		ID: EventID(m.Room, m.Seq), Type: TypeMessageSent, Source: SourceChatroom, Subject: m.Room,
		Time: m.SentAt, TraceParent: traceparent,
	}, m)
}

// seqMark stands for a seq that is not known yet. With what stands around it in the encoding it cannot come from a name or
// a text, whose quotation marks are escaped.
const seqMark = math.MaxInt64

// EncodeAround encodes all but the seq, for a database that gives it out in the statement that stores the event: the
// envelope is before, seq, between, seq, after, with the seq in decimal digits. m.Seq is ignored.
func (m MessageSent) EncodeAround(traceparent string) (before, between, after []byte, err error) {
	m.Seq = seqMark
	b, err := m.Encode(traceparent)
	if err != nil {
		return nil, nil, nil, err
	}
	mark := strconv.FormatInt(seqMark, 10)
	before, _, found := bytes.Cut(b, []byte(mark+`","type":"`))
	if !found {
		return nil, nil, nil, fmt.Errorf("encode %s: no place for the seq in the id", TypeMessageSent)
	}
	rest := b[len(before)+len(mark):]
	between, _, found = bytes.Cut(rest, []byte(`"seq":`+mark+`,`))
	if !found {
		return nil, nil, nil, fmt.Errorf("encode %s: no place for the seq in the data", TypeMessageSent)
	}
	between = rest[:len(between)+len(`"seq":`)]
	return before, between, rest[len(between)+len(mark):], nil
}

// Encode puts a MessagesStored into its envelope.
func (m MessagesStored) Encode(id string, now time.Time) ([]byte, error) {
	return encode(Envelope{ID: id, Type: TypeMessagesStored, Source: SourcePersister, Time: now}, m)
}

// Encode puts a PresenceChanged into its envelope.
func (m PresenceChanged) Encode(id string, now time.Time) ([]byte, error) {
	return encode(Envelope{ID: id, Type: TypePresenceChanged, Source: SourceChatroom, Time: now}, m)
}

// Encode puts a TypingStarted into its envelope.
func (m TypingStarted) Encode(id string, now time.Time) ([]byte, error) {
	return encode(Envelope{ID: id, Type: TypeTypingStarted, Source: SourceChatroom, Subject: m.Room, Time: now}, m)
}

func encode(e Envelope, data any) ([]byte, error) {
	raw, err := marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	e.SpecVersion, e.DataContentType, e.Data = "1.0", "application/json", raw
	return marshal(e)
}

// marshal is json.Marshal without the HTML escapes: the bytes go to a broker, never into a page.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// EncodeBatch joins encoded envelopes into CloudEvents' batch format.
func EncodeBatch(envelopes [][]byte) []byte {
	n := 2
	for _, e := range envelopes {
		n += len(e) + 1
	}
	b := make([]byte, 0, n)
	b = append(b, '[')
	for i, e := range envelopes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']')
}

// Split returns the encoded envelopes in an AMQP body, without judging them: one, or the elements of a batch. The
// content type may be empty; then the first byte decides. Errors wrap [ErrMalformed].
func Split(contentType string, body []byte) ([]json.RawMessage, error) {
	t := bytes.TrimLeft(body, " \t\r\n")
	isArray := len(t) > 0 && t[0] == '['
	if strings.HasPrefix(contentType, ContentTypeBatch) || (contentType == "" && isArray) {
		if parts, ok := splitCanonical(body); ok {
			return parts, nil
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(body, &parts); err != nil {
			return nil, fmt.Errorf("%w: batch: %w", ErrMalformed, err)
		}
		return parts, nil
	}
	return []json.RawMessage{body}, nil
}

// Decode reads one envelope. Errors wrap [ErrMalformed].
func Decode(b []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case e.SpecVersion != "1.0":
		return Envelope{}, fmt.Errorf("%w: specversion is %q, want 1.0", ErrMalformed, e.SpecVersion)
	case e.ID == "" || e.Type == "" || e.Source == "":
		return Envelope{}, fmt.Errorf("%w: id, type and source are required", ErrMalformed)
	}
	return e, nil
}

// DecodeData reads the data of an envelope into one of this package's facts. Errors wrap [ErrMalformed].
func DecodeData[T any](e Envelope) (T, error) {
	var v T
	if len(e.Data) == 0 {
		return v, fmt.Errorf("%w: %s without data", ErrMalformed, e.Type)
	}
	if err := json.Unmarshal(e.Data, &v); err != nil {
		return v, fmt.Errorf("%w: data of %s: %w", ErrMalformed, e.Type, err)
	}
	return v, nil
}

// DecodeMessageSent reads an encoded envelope that must hold a valid MessageSent. Errors wrap [ErrMalformed].
func DecodeMessageSent(b []byte) (MessageSent, error) {
	if m, ok := decodeCanonical(b); ok {
		return m, nil
	}
	return decodeReflected(b)
}

func decodeReflected(b []byte) (MessageSent, error) {
	e, err := Decode(b)
	if err != nil {
		return MessageSent{}, err
	}
	if e.Type != TypeMessageSent {
		return MessageSent{}, fmt.Errorf("%w: type is %q, want %s", ErrMalformed, e.Type, TypeMessageSent)
	}
	m, err := DecodeData[MessageSent](e)
	if err != nil {
		return MessageSent{}, err
	}
	if m.Room == "" || m.Seq < 1 || m.Kind == "" || m.ID == "" || m.From == "" || m.SentAt.IsZero() {
		return MessageSent{}, fmt.Errorf("%w: room, seq, kind, id, from and sent_at are required", ErrMalformed)
	}
	return m, nil
}
