// Package store is where the chat room keeps what it accepted: the rooms and their heads, the permanent idempotency
// keys, and the outbox. Two implementations, PostgreSQL and SQLite, pass one suite (storetest).
package store

import (
	"context"
	"errors"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

// Errors of a [Receipt], and of Accept.
var (
	// ErrIDConflict: the sender used the id before, for another text or room.
	ErrIDConflict = errors.New("id was used for another text or room")
	// ErrBadRow: the database refuses this row, whatever else is in the batch.
	ErrBadRow = errors.New("the database refuses this message")
	// ErrUnknownOutcome: COMMIT was sent and its answer never came. Accept may be called again with the same sends.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
)

// Send is a message that waits to be accepted. SentAt is UTC, in whole milliseconds.
type Send struct {
	Sender, ID, Room, Text string
	SentAt                 time.Time
}

// Receipt tells what became of a [Send]. With Err nil the message is committed as Seq of its room; Duplicate says that it
// was so before this call, and then SentAt is that of the first time.
type Receipt struct {
	Seq       int64
	SentAt    time.Time
	Duplicate bool
	Err       error  // ErrIDConflict, ErrBadRow
	Event     []byte // encoded, as in the outbox; nil for a duplicate. Must not be changed
}

// Store is the chat room's database. All methods may be called at once from many goroutines.
type Store interface {
	// Epoch names this life of the database; it is made by the first call ever.
	Epoch(ctx context.Context) (string, error)
	// OpenRoom returns the head of a room (0: empty), and makes the room where it is missing.
	OpenRoom(ctx context.Context, room string) (head int64, err error)
	// Heads returns the heads of those rooms that exist.
	Heads(ctx context.Context, rooms []string) (map[string]int64, error)
	// Accept commits the sends in one transaction and returns a receipt for each. On an error nothing was committed,
	// unless it wraps ErrUnknownOutcome.
	Accept(ctx context.Context, sends []Send) ([]Receipt, error)
	// Tail returns the events of the outbox with after < seq, and seq < before unless before is 0, in seq order: the
	// first limit of them, or with before the last limit. It may start above after+1: what is below is stored.
	Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error)
}
