package bus

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is a growing delay: it doubles from first to max, and each wait takes between half and all of it, so that
// replicas that lost the same broker do not come back in step.
type backoff struct {
	first, max time.Duration
	current    time.Duration
}

func (b *backoff) reset() { b.current = 0 }

func (b *backoff) next() time.Duration {
	b.current = min(max(b.current*2, b.first), b.max)
	return b.current/2 + rand.N(b.current/2+1)
}

// wait pauses for the next delay, or until ctx ends.
func (b *backoff) wait(ctx context.Context) { pause(ctx, b.next()) }

// pause waits for d; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// graceful returns a context that outlives ctx by at most grace: what is in flight when a stop comes may finish.
func graceful(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(out, func() { t.Stop() })
	})
	return out, func() { stop(); cancel() }
}
