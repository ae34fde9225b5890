// Package flightrecorder is the flight recorder of a service: it remembers when the latest events were published and delivered,
// and how that ended, so that the way of one message can be told when its outbox row is gone.
//
// It promises: memory that does not grow, 4 MiB for [Remembered] steps, taken as they come; no allocation, and one short
// lock, for the begin and for the end of a whole window or batch, whatever its length; no names and no texts, since an
// event is known by a hash of its room and seq. What is older than the oldest step is forgotten, and all of it when the
// process ends: it is there for looking, and nothing may depend on it.
//
// The package starts no goroutine, and any number of them may call it.
package flightrecorder

import (
	"crypto/rand"
	"hash/maphash"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// Remembered is how many steps are, the latest: each time that an event is published or handled is one.
	Remembered = 1 << 17
	// reasons is how many different ones in a row are remembered.
	reasons = 256
	// reasonBytes is the length of a reason, at most.
	reasonBytes = 240
)

// Kind is what happens in a step.
type Kind uint8

// Kinds of steps.
const (
	Publishing Kind = iota + 1 // an event is handed to the broker; the step ends with the confirm of its whole window
	Delivery                   // an event is handled; to try again in place is a step of its own
)

// Outcome is how a step ended.
type Outcome uint8

// Outcomes of steps.
const (
	UnderWay Outcome = iota // it has not ended yet
	Done                    // confirmed; stored, by this delivery or by an earlier one
	Refused                 // for good: the event goes to the dead letters
	Failed                  // it is tried again
)

// Turn tells which time it is.
type Turn struct {
	Number int // of the delivery, from 1, as far as the broker counts them; 0 where nobody does
	Try    int // in place, from 1; likewise
}

// step has no pointer, so that the garbage collector need not look at it.
type step struct {
	event   uint64 // hash of room and seq
	begun   int64  // Unix microseconds
	ended   int64
	reason  uint32 // its number, from 1; 0: none
	number  uint8  // of the Turn, as far as it fits
	try     uint8
	kind    Kind
	outcome Outcome
}

// Recorder remembers steps.
type Recorder struct {
	// Immutable.
	service string
	process string // unlike that of any other recorder
	started time.Time
	seed    maphash.Seed

	mu           sync.Mutex // guards the fields below
	installation string
	steps        []step // number n stands at n modulo its length
	next         uint64 // number of the next step
	reasons      [reasons]string
	reason       uint32 // number of the latest reason
}

// New makes the recorder of a process. service names it in answers.
func New(service string) *Recorder { return newOf(service, Remembered) }

func newOf(service string, remembered int) *Recorder {
	return &Recorder{
		service: service, process: rand.Text(), started: time.Now(), seed: maphash.MakeSeed(), steps: make([]step, remembered),
	}
}

// Belongs names the installation that the process is a part of: rooms of two installations may have equal names.
func (r *Recorder) Belongs(installation string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.installation = installation
}

// Span is a number of steps that begin and end together.
type Span struct {
	recorder *Recorder
	first    uint64
	n        int
}

// Begin notes that a step begins for each of n events. It calls event for each index, under its lock.
func (r *Recorder) Begin(kind Kind, turn Turn, n int, event func(i int) (room string, seq int64)) Span {
	s := step{kind: kind, number: uint8(min(turn.Number, 255)), try: uint8(min(turn.Try, 255))}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.begun = time.Now().UnixMicro() // under the lock, so that steps are in the order of their times
	span := Span{r, r.next, n}
	for i := range n {
		s.event = r.hash(event(i))
		*r.at(r.next) = s
		r.next++
	}
	return span
}

// End notes how the steps of the span ended, each with its reason; steps that are forgotten are left out. It calls
// outcome for each index, under the recorder's lock.
func (s Span) End(outcome func(i int) (Outcome, error)) {
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().UnixMicro()
	for i := range s.n {
		if n := s.first + uint64(i); n >= r.oldest() {
			ended, err := outcome(i)
			e := r.at(n)
			e.ended, e.outcome, e.reason = now, ended, r.keep(err)
		}
	}
}

func (r *Recorder) at(n uint64) *step { return &r.steps[n%uint64(len(r.steps))] }

// oldest is the number of the oldest step that is remembered.
func (r *Recorder) oldest() uint64 { return r.next - min(r.next, uint64(len(r.steps))) }

// hash takes one multiplication for the seq: it is odd, so that no two seqs of a room are alike.
func (r *Recorder) hash(room string, seq int64) uint64 {
	return maphash.String(r.seed, room) ^ uint64(seq)*0x9e3779b97f4a7c15
}

// keep returns the number of err's text. Steps that fail together mostly have the same one.
func (r *Recorder) keep(err error) uint32 {
	if err == nil {
		return 0
	}
	text := err.Error()
	if len(text) > reasonBytes {
		end := reasonBytes
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	if latest := &r.reasons[r.reason%reasons]; r.reason == 0 || *latest != text {
		r.reason++
		r.reasons[r.reason%reasons] = text
	}
	return r.reason
}

// said is the text of a reason's number.
func (r *Recorder) said(number uint32) string {
	switch {
	case number == 0:
		return ""
	case r.reason-number >= reasons:
		return "the reason is not remembered any more"
	}
	return r.reasons[number%reasons]
}
