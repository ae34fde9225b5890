package check

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Digest stands for the content of a message: what two sides must agree on byte for byte. See [DigestOf].
type Digest [16]byte

// DigestOf digests the content of a message. sentAt counts as an instant, whatever its zone, and in full: a side that
// has more of it than the whole milliseconds of the protocol disagrees with the others.
func DigestOf(id, from, text string, sentAt time.Time, kind string) Digest {
	var buf [512]byte // holds most messages without the heap
	b := buf[:0]
	for _, s := range [...]string{id, from, kind, text} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendVarint(b, sentAt.Unix())
	b = binary.AppendVarint(b, int64(sentAt.Nanosecond()))
	sum := sha256.Sum256(b)
	return Digest(sum[:16])
}

// Event is an event of a room as the history or the table of the persister has it.
type Event struct {
	Seq    int64
	Digest Digest
	ID     string
	From   string
	SentAt time.Time // what went into Digest; an unknown outcome has it from nowhere else
}

// Key is a row of chatroom.accepted.
type Key struct {
	Sender, ID string
	Seq        int64
}

// Seen is an event as it came to a reader. It has no more than is needed to compare, since a run has many of them.
type Seen struct {
	Seq    int64
	Digest Digest
}

// Send is the journal of one message of a writer, however often it was tried. Sender and ID name it; no two have the same.
//
// With Accepted and Refused both empty the outcome is unknown: the message may be there once, or not at all.
type Send struct {
	Sender, ID, Room, Text string

	First time.Duration // just before it was handed to a connection the first time
	Tries int           // lives of its sender's program that took it up

	Accepted time.Duration // when the first `accepted` was read; 0: never
	Seq      int64         // from accepted
	SentAt   time.Time     // from accepted

	// Refused is the code of an error that no try can mend (retry false), and then the message must not be there. A refusal
	// that speaks of the session and not of the message (not_joined, unauthorized) proves nothing about an earlier try whose
	// outcome is unknown: leave Refused empty then.
	Refused string
}

// Reader is the journal of one reader of one room, over all its connections: it joins again after the last seq that it has.
type Reader struct {
	Name, Room string
	After      int64  // the first event owed to it is After+1
	Events     []Seen // everything that came, in the order in which it came, and nothing left out
	Live       bool   // connected at the end and at rest, so that it must have come to the head
}

// Journal is what the clients of a run wrote down. Times are durations since the run began, on the one monotonic clock of
// the process in which all of them ran.
type Journal struct {
	Sends   []Send
	Readers []Reader
}

// Room is what the services have of a room at rest.
type Room struct {
	Name    string
	Head    int64   // of chatroom.rooms
	History []Event // over gRPC, in the order of its pages
	Stored  []Event // persister.messages, in any order
	Keys    []Key   // chatroom.accepted, in any order
	Waiting []int64 // seqs of the rows that are left in the outbox, in any order
}

// State is what the services have at rest, which means that nobody writes any more and the outbox had time to drain.
type State struct {
	Rooms       []Room
	DeadLetters []string // ids of the events in the dead-letter queue; one that a crash put there twice counts once
	Planted     []string // ids of the events that must be there
}
