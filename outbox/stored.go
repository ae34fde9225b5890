package outbox

import (
	"context"
	"slices"
	"time"
)

// maxPending bounds the marks that wait while a removal is under way. What is above it is found by the sweep later.
const maxPending = 65_536

// Stored tells through which seq keys are stored, as announced; rows up to it are removed. It never blocks. Keys of shards
// that this relay does not own are ignored: their owner hears the same announcement.
func (r *Relay) Stored(marks map[string]int64) {
	owned := r.shards()
	if len(owned) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, mark := range marks {
		if _, found := slices.BinarySearch(owned, r.o.ShardOf(key)); !found {
			continue
		}
		known, waits := r.pending[key]
		if !waits && len(r.pending) >= maxPending {
			if !r.dropping {
				r.o.Logger.Warn("too many stored marks wait for the database, leaving some to the sweep", "marks", len(r.pending))
			}
			r.dropping = true
			continue
		}
		r.pending[key] = max(known, mark)
	}
	if len(r.pending) > 0 {
		select {
		case r.mark <- struct{}{}:
		default: // removeStored will find these too
		}
	}
}

// removeStored removes what was announced. What is announced during a removal goes into the next one together.
func (r *Relay) removeStored(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.mark:
		}
		marks := r.takePending()
		for failures := 1; len(marks) > 0; failures++ {
			// A removal that was cut off has done nothing, so the next try gets more time.
			err := r.remove(ctx, marks, time.Duration(min(failures, removeTries))*callTimeout)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				r.o.Logger.Warn("stored outbox rows not removed, retrying", "keys", len(marks), "error", err)
			}
			if !sleep(ctx, backoff(failures)) {
				return
			}
		}
	}
}

func (r *Relay) remove(ctx context.Context, marks map[string]int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := r.removeRows(ctx, marks)
	return err
}

// removeRows removes what is stored, which needs no mark then.
func (r *Relay) removeRows(ctx context.Context, marks map[string]int64) (int64, error) {
	n, err := r.o.Store.Remove(ctx, marks)
	if err == nil {
		r.mu.Lock()
		r.unmarked.drop(marks)
		r.mu.Unlock()
	}
	r.removed.Add(n)
	return n, err
}

func (r *Relay) takePending() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	marks := r.pending
	r.pending, r.dropping = map[string]int64{}, false
	return marks
}
