package chatroom

import (
	"sync/atomic"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// roomLog is the recent part of a room's log: a run of events without a hole that ends at head, encoded once for all
// readers, bounded by count, bytes and age. Events that arrive above a hole wait beside it until the hole is filled.
// It is not safe for concurrent use; a room's mutex guards it.
type roomLog struct {
	limits  logLimits
	entries []logEntry // seqs head-len+1 … head
	head    int64
	bytes   int
	waiting map[int64]frame.Event // above head+1; bounded by limits.count

	kept    *atomic.Int64 // bytes of all logs together
	counted int           // the part of kept that is this log's
}

// logLimits bounds what a room keeps in memory, and all rooms together. What falls off is read from the database.
type logLimits struct {
	count int
	bytes int
	ttl   time.Duration
	total int // bytes of all rooms; the hub holds it
}

type logEntry struct {
	encoded []byte
	at      time.Time
}

// newRoomLog returns a log whose head is not known yet: until start, all that is added waits.
func newRoomLog(limits logLimits, kept *atomic.Int64) roomLog {
	return roomLog{limits: limits, head: -1, kept: kept}
}

// start tells the head: events is a run without a hole that ends there, or is empty. What waited is added.
func (l *roomLog) start(head int64, events []frame.Event, now time.Time) {
	waiting := l.waiting
	l.waiting, l.head = nil, head-int64(len(events))
	for _, e := range events {
		l.push(e, now)
	}
	l.trim(now, l.limits.ttl)
	for _, e := range waiting {
		l.add(e, now)
	}
}

// add takes an event in any order and returns whether head moved. Below the head it is known already and dropped.
func (l *roomLog) add(e frame.Event, now time.Time) bool {
	switch {
	case e.Seq <= l.head:
		return false
	case e.Seq > l.head+1:
		if l.waiting == nil {
			l.waiting = make(map[int64]frame.Event)
		}
		// Full means a hole that lasts; what is dropped here is read from the database with the hole.
		if len(l.waiting) < l.limits.count {
			l.waiting[e.Seq] = e
		}
		return false
	}
	l.push(e, now)
	for {
		next, ok := l.waiting[l.head+1]
		if !ok {
			break
		}
		delete(l.waiting, next.Seq)
		l.push(next, now)
	}
	l.trim(now, l.limits.ttl)
	return true
}

func (l *roomLog) push(e frame.Event, now time.Time) {
	b := frame.Encode(e)
	l.entries = append(l.entries, logEntry{b, now})
	l.bytes += len(b)
	l.head = e.Seq
}

// trim drops from the old end what is over the bounds, or as old as age, and accounts for what is left. The slice moves
// forward in its array; append copies it to a new one when the array ends, so the cost for each event is constant and
// nothing old is kept alive for long.
func (l *roomLog) trim(now time.Time, age time.Duration) {
	n := 0
	for n < len(l.entries) &&
		(len(l.entries)-n > l.limits.count || l.bytes > l.limits.bytes || now.Sub(l.entries[n].at) >= age) {
		l.bytes -= len(l.entries[n].encoded)
		l.entries[n] = logEntry{}
		n++
	}
	l.entries = l.entries[n:]
	if len(l.entries) == 0 {
		l.entries = nil
	}
	l.kept.Add(int64(l.bytes - l.counted))
	l.counted = l.bytes
}

// age returns how long the oldest event is kept; 0 without one.
func (l *roomLog) age(now time.Time) time.Duration {
	if len(l.entries) == 0 {
		return 0
	}
	return now.Sub(l.entries[0].at)
}

// hole tells whether events wait above a hole.
func (l *roomLog) hole() bool { return len(l.waiting) > 0 }

// read appends to dst the encoded events above after, up to maxEvents and about maxBytes. ok is false where after lies
// below what the log holds, and the reader has to ask the database.
func (l *roomLog) read(dst [][]byte, after int64, maxEvents, maxBytes int) (_ [][]byte, ok bool) {
	first := l.head - int64(len(l.entries)) + 1
	if after+1 < first {
		return dst, false
	}
	for i := after + 1 - first; i < int64(len(l.entries)) && maxEvents > 0 && maxBytes > 0; i++ {
		b := l.entries[i].encoded
		dst = append(dst, b)
		maxEvents--
		maxBytes -= len(b)
	}
	return dst, true
}
