// Package client is a Go client of the wire protocol chat.v1 (docs/protocol.md).
//
// It promises: events of a room are handed on in seq order, each once, over gaps and reconnects; a send is tried again
// with the same id until the chat room accepted it or refused it for good; whatever a server sends, the client does not
// panic and does not spin.
//
// Goroutines: [Client.Run] reads, and calls every callback, on the goroutine that called it; while connected it owns one
// more, which is the only writer of the connection. A callback that blocks stops the reading, and after two heartbeats
// the server ends the connection. Callbacks may call Join, Leave and Typing, but not Send, Submit or History, which wait
// for what Run reads.
//
// Limits: at most 32 sends are in flight and at most 1024 wait; a frame of the server may have 8 MiB.
package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// MaxInFlight is how many sends may be unanswered on one connection.
const MaxInFlight = 32

// maxWaiting bounds the sends that are not accepted yet. Submit waits for a place.
const maxWaiting = 1024

// ErrEnded is the error of a send or request that [Client.Run] left unanswered because its context ended. The outcome of
// a send is then unknown: the chat room may have accepted it. The same text and id may be sent again.
var ErrEnded = errors.New("the client has ended")

// ErrNotJoined is the error of a send to a room without a [Client.Join].
var ErrNotJoined = errors.New("the room is not joined")

// StoppedError says that the server asked to stay away, with a close code of 4100 to 4199, or that it cannot be talked
// to at all (code 0).
type StoppedError struct {
	Code    int
	Message string
}

func (e *StoppedError) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return fmt.Sprintf("the server ended it: %s (code %d)", e.Message, e.Code)
}

// State tells a change of the connection.
type State struct {
	Connected bool
	User      string        // as the server knows us; set while connected
	Err       error         // why there is no connection; nil while connected
	RetryIn   time.Duration // until the next try
}

// Options configures a [Client]. Only Server and one of Name and Token are required. Callbacks may be nil; one goroutine
// calls them all, except OnFrame.
type Options struct {
	Server string // ws://host:8080 or wss://host; /ws is added where it is missing
	Name   string // for a server that runs open
	Token  string // a JWT, for one that does not
	Agent  string // names the program to the server

	TLS    *tls.Config
	Dialer *websocket.Dialer // its TLS and subprotocols are set by the client; nil: one that honours the proxy variables
	Logger *slog.Logger      // nil: no log

	// InFlight is how many sends may be unanswered, 1 to MaxInFlight; 0 means MaxInFlight. Sends of a room are put on the
	// wire in the order of Submit, also after a reconnect. Where the server refuses one for a while ("rate_limited",
	// "unavailable"), those that were on the wire behind it may be accepted before it is tried again; with 1 nothing can
	// overtake.
	InFlight int
	// Backoff tells how long to wait before the connection after the given number of failed ones, from 0. nil: full
	// jitter, rand(0, min(30 s, 0.5 s·2ⁿ)). A server's retry_ms goes first.
	Backoff func(failed int) time.Duration
	// AnswerTimeout is how long an answer may take before the connection counts as broken; 0 means 30 s.
	AnswerTimeout time.Duration

	OnState    func(State)
	OnJoined   func(frame.Joined) // Reset is set also where only a new epoch tells it; then the seqs begin anew
	OnEvent    func(room string, e frame.Event)
	OnRawEvent func(room string, raw json.RawMessage) // the same event as it was on the wire; called before OnEvent
	OnAccepted func(frame.Accepted)                   // for sends of this client
	OnRefused  func(room, id string, err *frame.Error)
	OnStored   func(room string, seq int64)
	OnPresence func(frame.Presence)
	OnTyping   func(room, from string)
	OnError    func(*frame.Error) // an error that answers no send and no History: a refused join, or none of the client's
	// OnFrame sees every frame before the client acts on it. Sent ones are told by another goroutine, before they are
	// written. It must not keep raw.
	OnFrame func(sent bool, raw []byte)
}

// Client is a connection that heals itself. Make it with [New]; it works while [Client.Run] runs.
type Client struct {
	// Immutable.
	opts   Options
	url    string
	dialer *websocket.Dialer
	log    *slog.Logger
	places chan struct{} // one for each send that is not finished
	wake   chan struct{} // capacity 1; for the writer
	ended  chan struct{} // closed when Run returned

	mu        sync.Mutex // guards the fields below; no callback and no I/O under it
	connected bool       // between welcome and the end of the connection
	limits    frame.Limits
	rooms     map[string]*room
	leaves    []string
	typing    []string
	requests  map[string]*request
	sends     []*Sending // not finished, in the order of Submit
	inFlight  int
	bucket    bucket
	endErr    error
}

// New checks the options. The client does nothing until [Client.Run].
func New(o Options) (*Client, error) {
	u, err := serverURL(o.Server)
	if err != nil {
		return nil, err
	}
	if o.Token == "" {
		if ferr := frame.CheckName(o.Name); ferr != nil {
			return nil, errors.New(ferr.Message)
		}
	}
	if o.InFlight <= 0 || o.InFlight > MaxInFlight {
		o.InFlight = MaxInFlight
	}
	if o.Backoff == nil {
		o.Backoff = fullJitter
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = 30 * time.Second
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dialer := *websocket.DefaultDialer
	if o.Dialer != nil {
		dialer = *o.Dialer
	}
	dialer.Subprotocols = []string{frame.Protocol}
	if o.TLS != nil {
		dialer.TLSClientConfig = o.TLS
	}
	dialer.HandshakeTimeout = handshakeTimeout
	return &Client{
		opts: o, url: u, dialer: &dialer, log: log,
		places: make(chan struct{}, maxWaiting), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		rooms: make(map[string]*room), requests: make(map[string]*request),
	}, nil
}

// serverURL completes what people write: http for ws, and the path.
func serverURL(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("server %q is no URL; it looks like ws://localhost:8080", server)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("server %q must begin with ws:// or wss://", u.Redacted())
	}
	if u.Host == "" {
		return "", fmt.Errorf("server %q names no host; it looks like ws://localhost:8080", server)
	}
	if path := strings.TrimRight(u.Path, "/"); !strings.HasSuffix(path, "/ws") {
		u.Path = path + "/ws"
	}
	u.Fragment = ""
	return u.String(), nil
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
