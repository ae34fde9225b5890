// Package stats holds the statistics of a measurement: a histogram of latencies that many goroutines write to, and the
// spread of figures over rounds.
package stats

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A bucket is never wider than 1/128 of its lower end: 0.8 %.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	maxValue   = int64(1)<<42 - 1 // 73 minutes; what is more counts as that
	buckets    = (42 - subBits + 1) * subBuckets
)

// Histogram counts durations in buckets whose width grows with the value, as in Gil Tene's HdrHistogram: whole
// nanoseconds below 128, then 128 buckets for each power of two. Any number of goroutines may record at once. The zero
// value is empty.
type Histogram struct {
	counts [buckets]atomic.Int64
	max    atomic.Int64
}

// Record counts one duration. A negative one, from clocks that differ, counts as 0.
func (h *Histogram) Record(d time.Duration) {
	v := min(max(int64(d), 0), maxValue)
	h.counts[bucketOf(v)].Add(1)
	for {
		old := h.max.Load()
		if v <= old || h.max.CompareAndSwap(old, v) {
			return
		}
	}
}

// bucketOf tells the bucket of a value.
func bucketOf(v int64) int {
	shift := max(bits.Len64(uint64(v))-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// upper is the highest value of a bucket.
func upper(bucket int) int64 {
	shift := max(bucket>>subBits-1, 0)
	return (int64(bucket-shift<<subBits)+1)<<shift - 1
}

// Reset empties it. What is recorded meanwhile may be lost.
func (h *Histogram) Reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.max.Store(0)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() (n int64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Max is the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns a duration that at least the share q of all is not above, at most 0.8 % too high; 0 where there is
// none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(int64(math.Ceil(q*float64(h.Count()))), 1)
	seen := int64(0)
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= rank {
			return time.Duration(min(upper(i), h.max.Load()))
		}
	}
	return h.Max()
}
