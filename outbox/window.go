package outbox

import (
	"context"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Window is what the relay hands out at once: rows to publish in this order. It holds at least one row.
type Window struct {
	Rows    []Row
	Offered bool // the rows come from [Relay.Offer], and not out of the database
}

// Wake tells that rows were committed, or wait again, which nobody offers. It never blocks, and calls that come together
// count once.
func (r *Relay) Wake() {
	r.mu.Lock()
	r.offered.miss()
	r.mu.Unlock()
	r.signal()
}

func (r *Relay) signal() {
	select {
	case r.wake <- struct{}{}:
	default: // somebody said so already
	}
}

// Next blocks until there are rows to publish. It waits out the backoff of a failed window and the pace of a stream, and
// retries errors of the database; its only error is that of ctx. A window that got neither Done nor Failed is handed out
// again after one and a half times Options.Poll at the latest.
func (r *Relay) Next(ctx context.Context) (Window, error) {
	if wait := r.waitIn(); wait > 0 && !sleep(ctx, wait) {
		return Window{}, ctx.Err()
	}
	for failures := 0; ; {
		if err := ctx.Err(); err != nil {
			return Window{}, err
		}
		// Who called Wake or Offer before this line has committed before the look begins: the look sees it, and the
		// token would only cause an empty one.
		select {
		case <-r.wake:
		default:
		}
		w, err := r.look(ctx)
		switch {
		case err == nil && len(w.Rows) > 0:
			return w, nil
		case err == nil:
			failures = 0
			r.await(ctx)
		case ctx.Err() == nil:
			failures++
			r.o.Logger.Warn("outbox not read, retrying", "error", err)
			sleep(ctx, backoff(failures))
		}
	}
}

// look takes what was read ahead, then what was offered, if that is all there is, or what the database has.
func (r *Relay) look(ctx context.Context) (Window, error) {
	if rows := r.takeAhead(ctx); len(rows) > 0 {
		return Window{Rows: rows}, nil
	}
	r.poll(ctx)
	if rows, all := r.takeOffered(); all {
		return Window{Rows: rows, Offered: true}, nil
	}
	rows, _, err := r.fetch(ctx, r.o.Window)
	if err == nil && len(rows) > 0 {
		r.mu.Lock()
		r.hand(ctx, rows)
		r.mu.Unlock()
	}
	return Window{Rows: rows}, err
}

// poll looks, once in Options.Poll, whether something was overlooked: a row that waits for half of that time. What is on its
// way is younger as a rule, so that a poll of a busy outbox neither marks nor reads rows that are removed in a moment. One that
// fails keeps nothing back that was offered: under a snapshot of some hours, as pg_dump has one, the server steps over all rows
// that were removed since, and a poll may take longer than it has time.
func (r *Relay) poll(ctx context.Context) {
	shards, due := r.pollDue()
	if !due {
		return
	}
	began := time.Now()
	pollCtx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	age, err := r.o.Store.Oldest(pollCtx, shards)
	switch {
	case err == nil:
		r.endPoll(began, age >= r.o.Poll/2)
	case ctx.Err() == nil:
		wait := pollPause * time.Since(began)
		r.o.Logger.Warn("outbox not polled for overlooked rows, retrying", "wait", wait, "error", err)
		r.postponePoll(wait)
	}
}

// fetch first marks what is published and still there, or it would get that again. It returns the lease under which it asked.
func (r *Relay) fetch(ctx context.Context, limit int) (rows []Row, lease int, err error) {
	if err := r.markUnmarked(ctx); err != nil {
		return nil, 0, err
	}
	shards, lease := r.beginFetch()
	if len(shards) == 0 {
		return nil, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err = r.o.Store.Fetch(ctx, shards, limit)
	r.endFetch(rows, limit, err)
	return rows, lease, err
}

// await waits for a wake-up, the next poll, or the end.
func (r *Relay) await(ctx context.Context) {
	t := time.NewTimer(r.pollIn())
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-t.C:
	}
}

// Done tells that every row of w is published and confirmed. Rows out of the database are marked at once, or while the next
// window of a backlog is out: it retries errors, since to give up would only publish the window again; its only error is that
// of ctx, and then the rows may be published again. Rows that were offered are marked later, if they are there still. A clean
// stop gives it a context that outlives the one of Next.
func (r *Relay) Done(ctx context.Context, w Window) error {
	r.mu.Lock()
	r.failures, r.notBefore = 0, time.Time{}
	if w.Offered {
		r.notBefore = r.offered.taken.Add(min(time.Duration(len(w.Rows))*pace, maxPace))
	}
	more := r.ahead.done()
	if n := r.unmarked.add(w.Rows); n > maxUnmarked {
		r.offered.miss() // the next look marks them
	}
	late := (w.Offered || more) && !r.ended && !mutant.ForgetPublished
	r.mu.Unlock()
	if late {
		return nil
	}
	for failures := 1; ; failures++ {
		err := r.settle(ctx, w)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			r.o.Logger.Warn("outbox rows not marked published, retrying", "rows", len(w.Rows), "error", err)
		}
		if !sleep(ctx, backoff(failures)) {
			return ctx.Err()
		}
	}
}

func (r *Relay) settle(ctx context.Context, w Window) error {
	if !mutant.ForgetPublished {
		return r.markUnmarked(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.o.Store.Remove(ctx, lastSeqs(w.Rows))
	return err
}

// Failed tells that w is not published, or not all of it. The next Next waits, longer with each failure in a row, 100 ms to
// 5 s, and hands out the same rows again in the same order.
func (r *Relay) Failed(w Window, err error) {
	r.mu.Lock()
	r.failures++
	wait := backoff(r.failures)
	r.notBefore = time.Now().Add(wait)
	r.offered.miss() // and what was read ahead is dropped by the next look
	r.mu.Unlock()
	r.o.Logger.Warn("outbox window not published, retrying", "rows", len(w.Rows), "wait", wait, "error", err)
}

func (r *Relay) waitIn() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.notBefore)
}

// lastSeqs returns the highest seq of each key.
func lastSeqs(rows []Row) map[string]int64 {
	last := make(map[string]int64)
	for _, r := range rows {
		last[r.Key] = max(last[r.Key], r.Seq)
	}
	return last
}
