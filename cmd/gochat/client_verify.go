package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// verifier judges a server by the frames on the wire, not by what the client makes of them. After each answered join the
// room's events must follow on the place that was asked for, one by one; ids must be unique for a sender; an event that
// is told again must be the same; and what the server calls the head must come.
type verifier struct {
	room string

	mu        sync.Mutex // the client tells sent and received frames on two goroutines
	joins     map[string]*int64
	streaming bool  // between joined and the end of the connection
	next      int64 // the seq that must come
	first     int64 // the first seq that was seen; 0: none
	last      int64 // the highest seq that was seen
	told      int64 // the highest head that the server told
	toldAt    time.Time
	movedAt   time.Time
	patience  time.Duration // two heartbeats
	seen      map[eventKey]int64
	bad       error // the first violation
}

// eventKey stands for a sender and an id.
type eventKey [16]byte

func keyOf(from, id string) (k eventKey) {
	sum := sha256.Sum256([]byte(from + "\x00" + id))
	copy(k[:], sum[:])
	return k
}

func newVerifier(room string) *verifier {
	return &verifier{room: room, joins: make(map[string]*int64), seen: make(map[eventKey]int64), patience: 50 * time.Second}
}

// observe is for client.Options.OnFrame. It returns the first violation, also on later calls.
func (v *verifier) observe(sent bool, raw []byte, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bad == nil {
		if sent {
			v.bad = v.sent(raw)
		} else {
			v.bad = v.received(raw, now)
		}
	}
	return v.bad
}

func (v *verifier) sent(raw []byte) error {
	var f frame.Client
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("the client sent no JSON: %w", err)
	}
	switch {
	case f.Type == frame.TypeHello: // a new connection
		v.streaming = false
		clear(v.joins)
	case f.Type == frame.TypeJoin && f.Room == v.room:
		v.joins[f.ID] = f.After
	}
	return nil
}

func (v *verifier) received(raw []byte, now time.Time) error {
	var head struct {
		Type string `json:"type"`
		Room string `json:"room"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("the server sent no JSON object: %w", err)
	}
	if head.Room != v.room && head.Type != frame.TypeWelcome && head.Type != frame.TypeHeads {
		return nil
	}
	switch head.Type {
	case frame.TypeWelcome:
		return parse(raw, func(w *frame.Welcome) error {
			if w.HeartbeatMS > 0 && w.HeartbeatMS < time.Hour.Milliseconds() {
				v.patience = 2 * time.Duration(w.HeartbeatMS) * time.Millisecond
			}
			return nil
		})
	case frame.TypeJoined:
		return parse(raw, func(j *frame.Joined) error { return v.joined(j, now) })
	case frame.TypeEvents:
		return parse(raw, func(e *frame.Events) error { return v.events(e, now) })
	case frame.TypeHeads:
		return parse(raw, func(h *frame.Heads) error {
			n, ok := h.Rooms[v.room]
			if ok && n < v.last {
				return fmt.Errorf("heads says #%d, but #%d came already", n, v.last)
			}
			if ok {
				v.tell(n, now)
			}
			return nil
		})
	}
	return nil
}

func parse[T any](raw []byte, f func(*T) error) error {
	var t T
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("the server sent a broken frame: %w", err)
	}
	return f(&t)
}

func (v *verifier) tell(head int64, now time.Time) {
	if head > v.told {
		v.told, v.toldAt = head, now
	}
}

func (v *verifier) joined(j *frame.Joined, now time.Time) error {
	after, mine := v.joins[j.ID]
	if !mine {
		return fmt.Errorf("joined answers a join (%.20q) that nobody asked for", j.ID)
	}
	delete(v.joins, j.ID)
	start := max(0, j.Head-frame.DefaultTail)
	if after != nil {
		start = *after
	}
	switch {
	case j.Reset:
		return fmt.Errorf("the server reset the room at #%d (head #%d, epoch %.20q)", v.last, j.Head, j.Epoch)
	case j.Head < 0 || j.Stored < 0 || j.Stored > j.Head:
		return fmt.Errorf("joined is impossible: head %d, stored %d", j.Head, j.Stored)
	case j.Head < start || j.Head < v.last:
		return fmt.Errorf("joined says head #%d, but #%d is known", j.Head, max(start, v.last))
	case v.first != 0 && start > v.last:
		return fmt.Errorf("joined after #%d, but #%d is the last that came", start, v.last)
	}
	v.streaming, v.next, v.movedAt = true, start+1, now
	v.tell(j.Head, now)
	return nil
}

func (v *verifier) events(f *frame.Events, now time.Time) error {
	if f.ID != "" {
		return nil // a page of history
	}
	if !v.streaming {
		return fmt.Errorf("events came before joined")
	}
	for i, e := range f.Events {
		key := keyOf(e.From, e.ID)
		before, known := v.seen[key]
		switch {
		case e.Seq < v.next && known && before == e.Seq:
			return fmt.Errorf("duplicate: #%d came again where #%d is due", e.Seq, v.next)
		case e.Seq < v.next:
			return fmt.Errorf("wrong order: #%d came where #%d is due", e.Seq, v.next)
		case e.Seq > v.next:
			for _, later := range f.Events[i+1:] {
				if later.Seq == v.next {
					return fmt.Errorf("wrong order: #%d came before #%d", e.Seq, v.next)
				}
			}
			return fmt.Errorf("gap: #%d came where #%d is due", e.Seq, v.next)
		case e.ID == "" || e.From == "":
			return fmt.Errorf("#%d has no id or no sender", e.Seq)
		case known && before != e.Seq:
			return fmt.Errorf("the same id twice: #%d and #%d", before, e.Seq)
		case !known && v.first != 0 && e.Seq <= v.last:
			return fmt.Errorf("#%d is not what it was when it came before", e.Seq)
		}
		v.seen[key] = e.Seq
		v.next++
		v.movedAt = now
		if v.first == 0 {
			v.first = e.Seq
		}
		v.last = max(v.last, e.Seq)
	}
	return nil
}

// disconnected stops the clock of stalled: what a server owes comes on the next connection.
func (v *verifier) disconnected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.streaming = false
}

// stalled is a violation where a head was told two heartbeats ago, and nothing has come since.
func (v *verifier) stalled(now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bad == nil && v.streaming && v.missing() &&
		now.Sub(v.toldAt) > v.patience && now.Sub(v.movedAt) > v.patience {
		v.bad = fmt.Errorf("missing: the head is #%d, but nothing follows #%d", v.told, v.next-1)
	}
	return v.bad
}

func (v *verifier) missing() bool { return v.next-1 < v.told }

// result is the verdict at the end: the summary, or the first violation. until is the seq that had to come; 0: none.
func (v *verifier) result(until int64) (summary string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	reached := until > 0 && v.last >= until
	switch {
	case v.bad != nil:
		return "", v.bad
	case until > 0 && !reached:
		return "", fmt.Errorf("missing: it ended at #%d, before #%d", v.last, until)
	case !reached && v.missing():
		return "", fmt.Errorf("missing: it ended at #%d, before the head #%d", v.next-1, v.told)
	case v.first == 0:
		return fmt.Sprintf("verified %s: no event came", v.room), nil
	}
	return fmt.Sprintf("verified %s: %s in order, %s, no gap, no duplicate",
		v.room, count(len(v.seen), "event"), seqRange(v.first, v.last)), nil
}
