package check

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Bounds of porcupine's part: what it searches grows with the square of a history, and it is a cross-check.
const (
	windowOps      = 1000 // ops of a room that are checked together
	windowsPerRoom = 4    // of a room that has more, evenly spread, with the first ops and the last
	porcupineTime  = 10 * time.Second
)

// porcupineRun is the cross-check of the linear pass by an independent program: porcupine searches an order of the sends of
// a room, as of calls to a counter that returns the next number, that fits what they returned and when.
//
// A send of unknown outcome is a call that never returned; it took effect if the room has it. The head at rest is a call
// that reads the counter after everything else. The heads that readers are told are none: they may be of a replica that has
// not heard of the newest event yet, and promise nothing.
type porcupineRun struct {
	rooms, ops, of int
	spent          time.Duration
	violated       int // windows
	outOfTime      int
}

func (p *porcupineRun) room(r *room) {
	if len(r.order) == 0 {
		return
	}
	p.rooms++
	p.of += len(r.order)
	for _, w := range windows(len(r.order)) {
		left := porcupineTime - p.spent
		if left <= 0 { // porcupine takes 0 for no limit
			p.outOfTime++
			continue
		}
		begin := time.Now()
		result := porcupine.CheckOperationsTimeout(counterFrom(r.order[w.from].seq-1), r.ops(w), left)
		p.spent += time.Since(begin)

		switch result {
		case porcupine.Ok:
			p.ops += w.to - w.from
		case porcupine.Illegal:
			p.ops += w.to - w.from
			p.violated++
			if from, to := r.order[w.from].seq, r.order[w.to-1].seq; r.c.violated[r.Name] == 0 {
				r.report(KindNotLinearized, 1, from, "", func() string {
					return fmt.Sprintf("porcupine finds no order of the sends that have %s of %s in which each takes the next seq, though the linear pass finds nothing wrong with them.",
						seqs(from, to), r.Name)
				})
			}
		default:
			p.outOfTime++
		}
	}
}

func (p *porcupineRun) String() string {
	verdict := "ok"
	switch {
	case p.violated > 0:
		verdict = "violated"
	case p.outOfTime > 0:
		verdict = "unknown (out of time)"
	}
	return fmt.Sprintf("%s: %d of %d ops in %d rooms", verdict, p.ops, p.of, p.rooms)
}

// window is a part of room.order.
type window struct{ from, to int }

// windows tells which of n ops are checked.
func windows(n int) []window {
	if n <= windowOps {
		return []window{{0, n}}
	}
	w := make([]window, 0, windowsPerRoom)
	for i := range windowsPerRoom {
		from := (n - windowOps) * i / (windowsPerRoom - 1)
		if i > 0 {
			from = max(from, w[i-1].to) // no op twice
		}
		if to := min(from+windowOps, n); from < to {
			w = append(w, window{from, to})
		} else {
			break
		}
	}
	return w
}

// readHead is the input of a call that reads the counter; other calls have none.
type readHead struct{}

// counterFrom is the model of a room whose last seq is known.
func counterFrom(seq int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return seq },
		Step: func(state, input, output any) (bool, any) {
			last := state.(int64)
			if _, ok := input.(readHead); ok {
				return output == state, state
			}
			return output == any(last+1), last + 1
		},
	}
}

// ops makes calls of the sends in a window, and reads the head after the last of all.
func (r *room) ops(w window) []porcupine.Operation {
	ops := make([]porcupine.Operation, 0, w.to-w.from+1)
	for _, p := range r.order[w.from:w.to] {
		s := &r.c.sends[p.send]
		returned := int64(s.Accepted)
		if s.Accepted == 0 {
			returned = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{Call: int64(s.First), Return: returned, Output: p.seq})
	}
	if w.to == len(r.order) {
		ops = append(ops, porcupine.Operation{Input: readHead{}, Call: math.MaxInt64, Return: math.MaxInt64, Output: r.Head})
	}
	return ops
}
