//go:build unix

package bench

import (
	"context"
	"runtime"
	"time"
)

// pace is the plan of one sender at a rate.
type pace struct {
	every time.Duration // between two messages; 0: there is no plan
	// awake is how long before a message is due the sender stops sleeping and looks at the clock instead: who sleeps on an
	// idle machine wakes up late, by more than a millisecond on a virtual one, which would be in what is measured.
	awake time.Duration
}

const (
	longestAwake = 2 * time.Millisecond
	awakeShare   = 20  // at most one part in so many of a core looks at the clock, for all senders together
	outstanding  = 512 // of one sender: beyond it waits, and the wait counts
)

// pace is that of each of the senders.
func (s Sizes) pace() pace {
	if s.Rate == 0 {
		return pace{}
	}
	between := float64(time.Second) / s.Rate // of all senders
	return pace{every: time.Duration(between * float64(s.Rooms*s.Senders)), awake: min(longestAwake, time.Duration(between/awakeShare))}
}

// wait waits until a time and returns at once where that is over; false: ctx ended.
func (p pace) wait(ctx context.Context, due time.Time) bool {
	if asleep := time.Until(due) - p.awake; asleep > 0 && !pause(ctx, asleep) {
		return false
	}
	for time.Until(due) > 0 {
		runtime.Gosched()
	}
	return ctx.Err() == nil
}

// send sends by a plan that begins at a time of the tally's clock.
func (p pace) send(ctx context.Context, m *member, due int64) error {
	free := int64(0) // since when it could send: what held it up before is not its own lateness
	for first := true; p.wait(ctx, m.tally.base.Add(time.Duration(due))) || first; due += int64(p.every) {
		first = false // a sender that is late for the whole time has sent once
		if m.tally.measuring.Load() {
			m.tally.late.Record(time.Duration(m.tally.now() - max(due, free)))
		}
		for m.sends()-m.answered.Load()-m.refused.Load() >= outstanding {
			if !pause(ctx, time.Millisecond) {
				return nil
			}
		}
		if err := m.send(due, 1); err != nil {
			return err
		}
		free = m.tally.now()
	}
	return nil
}
