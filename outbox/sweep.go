package outbox

import (
	"context"
	"fmt"
	"time"
)

// Bounds of one sweep. What is left is done by the next.
const (
	// SweepKeys is how many keys are looked at.
	SweepKeys = 512
	// SweepRows is how many rows are published again, over all keys.
	SweepRows = 8192
)

// keepSweeping looks after rows that were published and never announced: the announcement was lost, or the rows were, with
// the broker. The first look comes with the first lease, and finds what happened while no relay ran.
func (r *Relay) keepSweeping(ctx context.Context) {
	every := r.o.RepublishAfter / 3
	for {
		wait := every
		if shards := r.shards(); len(shards) == 0 {
			wait = min(every, r.o.Poll)
		} else if err := r.sweep(ctx, shards); err != nil && ctx.Err() == nil {
			r.o.Logger.Warn("outbox not swept, retrying", "error", err)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// sweep asks about the next keys that are due, removes what is stored, and makes the rest wait again. It goes round the
// keys, so that those which cannot be helped do not keep it from the others.
func (r *Relay) sweep(ctx context.Context, shards []int) error {
	ctx, cancel := context.WithTimeout(ctx, max(r.o.RepublishAfter, time.Second))
	defer cancel()
	due, err := r.o.Store.Unstored(ctx, shards, r.after, r.o.RepublishAfter, SweepKeys)
	if err != nil {
		return err
	}
	marks, err := r.watermarks(ctx, due)
	if err != nil {
		return err
	}
	if len(due) < SweepKeys {
		r.after = "" // the round is complete
	} else {
		r.after = due[len(due)-1].Key
	}
	removed, err := r.removeRows(ctx, marks)
	if err != nil {
		return err
	}
	again, err := r.republish(ctx, due, marks)
	if removed > 0 || again > 0 {
		r.o.Logger.Info("outbox swept", "keys", len(due), "removed", removed, "republished", again)
	}
	return err
}

// watermarks returns how far the keys are stored; nothing, if nobody can be asked.
func (r *Relay) watermarks(ctx context.Context, due []Lowest) (map[string]int64, error) {
	if len(due) == 0 || r.o.Watermarks == nil {
		return nil, nil
	}
	keys := make([]string, len(due))
	for i, l := range due {
		keys[i] = l.Key
	}
	marks, err := r.o.Watermarks(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("ask for the watermarks of %d keys: %w", len(keys), err)
	}
	return marks, nil
}

// sighting is a key that was due, and its mark at that time.
type sighting struct {
	mark int64
	at   time.Time
}

// republish leaves alone a key whose due row is stored, since only the announcement was lost, and spares one whose mark moved
// since it was last due: its consumer is late, and more of the same would make it later. A key with a hole cannot move, so
// it is not spared twice in a row.
func (r *Relay) republish(ctx context.Context, due []Lowest, marks map[string]int64) (int64, error) {
	now := time.Now()
	var total int64
	defer func() {
		r.forget(now)
		if total > 0 {
			r.Wake()
		}
	}()
	for i, l := range due {
		mark := marks[l.Key]
		if mark >= l.Seq {
			continue
		}
		before, known := r.seen[l.Key]
		if known || len(r.seen) < maxPending {
			r.seen[l.Key] = sighting{mark: mark, at: now}
		}
		if known && mark > before.mark {
			continue
		}
		// Each key has its share of what is left, and leaves what it does not need to the next.
		left := SweepRows - int(total)
		n, err := r.o.Store.Republish(ctx, l.Key, l.Seq-1, max(1, left/(len(due)-i)))
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// forget drops the keys that were not due for long; a key that was published again is due after RepublishAfter at the earliest.
func (r *Relay) forget(now time.Time) {
	for key, s := range r.seen {
		if now.Sub(s.at) > 4*r.o.RepublishAfter {
			delete(r.seen, key)
		}
	}
}
