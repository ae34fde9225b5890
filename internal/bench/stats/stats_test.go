package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBucketsCoverEveryValueOnce(t *testing.T) {
	t.Parallel()
	next := int64(0)
	for b := range buckets {
		for _, v := range []int64{next, upper(b)} {
			if got := bucketOf(v); got != b {
				t.Fatalf("%d: got bucket %d, want %d", v, got, b)
			}
		}
		if width := upper(b) - next + 1; float64(width) > max(1, float64(next)/subBuckets) {
			t.Fatalf("bucket %d from %d is %d wide", b, next, width)
		}
		next = upper(b) + 1
	}
	if next-1 != maxValue {
		t.Errorf("the last bucket ends at %d, want %d", next-1, maxValue)
	}
}

func TestQuantilesOfKnownInputs(t *testing.T) {
	t.Parallel()
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Errorf("empty: got %s of %d", h.Quantile(0.5), h.Count())
	}
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	for q, ms := range map[float64]int{0: 1, 0.5: 500, 0.9: 900, 0.99: 990, 0.999: 999, 1: 1000} {
		got, want := h.Quantile(q), time.Duration(ms)*time.Millisecond
		if got < want || float64(got) > float64(want)*1.008 {
			t.Errorf("quantile %v: got %s, want %s", q, got, want)
		}
	}
	if h.Max() != time.Second || h.Count() != 1000 {
		t.Errorf("got max %s of %d", h.Max(), h.Count())
	}
	h.Record(-time.Second)
	h.Record(1 << 62)
	if h.Quantile(0) != 0 || int64(h.Max()) != maxValue {
		t.Errorf("beyond the ends: got %s and %s", h.Quantile(0), h.Max())
	}
	h.Reset()
	if h.Count() != 0 || h.Max() != 0 {
		t.Error("not empty after a reset")
	}
}

// Against sorting, for a long-tailed distribution, recorded by many at once.
func TestQuantilesAgainstSorting(t *testing.T) {
	t.Parallel()
	var h Histogram
	values := make([]int64, 40_000)
	for i := range values {
		values[i] = int64(rand.ExpFloat64() * 3e6)
		if i%100 == 0 {
			values[i] *= 50
		}
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(values, 5000) {
		wg.Go(func() {
			for _, v := range part {
				h.Record(time.Duration(v))
			}
		})
	}
	wg.Wait()
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		exact := values[int(q*float64(len(values)))-1]
		if got := int64(h.Quantile(q)); got < exact || float64(got) > float64(exact)*1.008+1 {
			t.Errorf("quantile %v: got %d, want %d", q, got, exact)
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		figures []float64
		want    Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{5, 1, 4}, Spread{4, 1, 5}},
		{[]float64{8, 1, 4, 2}, Spread{3, 1, 8}},
	} {
		if diff := cmp.Diff(tt.want, SpreadOf(tt.figures)); diff != "" {
			t.Errorf("%v: %s", tt.figures, diff)
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	t.Parallel()
	got := Ratios([]float64{10, 30, 8, 5}, []float64{5, 10, 0})
	if diff := cmp.Diff([]float64{2, 3}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSlope(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		x, y []float64
		want float64
	}{
		{[]float64{0, 1, 2}, []float64{5, 7, 9}, 2},
		{[]float64{10, 20, 30, 40}, []float64{1, 4, 2, 5}, 0.1}, // Σ(x−25)(y−3) = 50, Σ(x−25)² = 500
		{[]float64{1, 2}, []float64{3, 3}, 0},
		{[]float64{4, 4}, []float64{1, 2}, 0},
		{nil, nil, 0},
	} {
		if got := Slope(tt.x, tt.y); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%v, %v: got %v, want %v", tt.x, tt.y, got, tt.want)
		}
	}
}
