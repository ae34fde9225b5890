package client

import (
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 500 * time.Millisecond
	backoffMax  = 30 * time.Second
	// retryHintMax bounds how long a server can send its clients away.
	retryHintMax = 10 * time.Minute
)

// fullJitter is rand(0, min(30 s, 0.5 s·2ⁿ)): "full jitter" of "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
func fullJitter(failed int) time.Duration {
	limit := backoffMax
	if failed < 6 {
		limit = backoffBase << max(0, failed)
	}
	return rand.N(limit + 1)
}

// inside draws from a server's retry_ms. Its bounds are not trusted.
func inside(retryMS [2]int64) time.Duration {
	bound := func(ms int64) time.Duration {
		return time.Duration(min(max(0, ms), retryHintMax.Milliseconds())) * time.Millisecond
	}
	low, high := bound(retryMS[0]), bound(retryMS[1])
	if high < low {
		high = low
	}
	return low + rand.N(high-low+1)
}

// resend is the pause before a refused send or request is tried again where the server named none.
func resend(tries int) time.Duration {
	limit := min(10*time.Second, 100*time.Millisecond<<min(tries, 10))
	return limit/2 + rand.N(limit/2)
}

// bucket paces the sends to what welcome allows, so that an honest client is hardly ever refused. The server's own
// bucket may hold less, since a user may have several connections: a refusal empties this one.
type bucket struct {
	rate, burst float64 // rate 0: no limit
	tokens      float64
	at          time.Time
}

func newBucket(rate float64, burst int, now time.Time) bucket {
	if !(rate > 0) { // also for a NaN
		return bucket{}
	}
	b := float64(max(1, burst))
	return bucket{rate: rate, burst: b, tokens: b, at: now}
}

// take takes a token, or tells when there will be one.
func (b *bucket) take(now time.Time) (due time.Time, ok bool) {
	if b.rate == 0 {
		return time.Time{}, true
	}
	b.tokens = min(b.burst, b.tokens+b.rate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return time.Time{}, true
	}
	wait := min(time.Minute.Seconds(), (1-b.tokens)/b.rate)
	return now.Add(time.Duration(wait*float64(time.Second)) + time.Millisecond), false
}

func (b *bucket) empty(now time.Time) { b.tokens, b.at = 0, now }
