//go:build unix

package bench

import (
	"math"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

func TestGrowthIsToldFromMemoryThatIsFull(t *testing.T) {
	t.Parallel()
	series := func(at func(second float64) float64) (s report.Series) {
		s = report.Series{Name: serverMemory, Unit: "MiB"}
		for i := range 600 {
			s.Points = append(s.Points, report.Sample{Seconds: float64(i), Value: at(float64(i))})
		}
		return s
	}
	for name, tt := range map[string]struct {
		s      report.Series
		grew   bool
		minute float64 // MiB
	}{
		"flat":                     {series(func(float64) float64 { return 50 }), false, 0},
		"caches that fill":         {series(func(s float64) float64 { return 20 + min(s, 150)/3 }), false, 0},
		"a sawtooth of collection": {series(func(s float64) float64 { return 50 + math.Mod(s, 30) }), false, 0},
		"a leak":                   {series(func(s float64) float64 { return 20 + s/10 }), true, 6},
		"a leak under a sawtooth":  {series(func(s float64) float64 { return 20 + s/10 + math.Mod(s, 30)/10 }), true, 6},
	} {
		figures, err := growth(tt.s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := figures[0].Value >= 1.1; got != tt.grew {
			t.Errorf("%s: grew %v (%v), want %v", name, got, figures[0].Value, tt.grew)
		}
		if got := figures[1].Value; math.Abs(got-tt.minute) > 1 {
			t.Errorf("%s: got %v MiB/min, want %v", name, got, tt.minute)
		}
	}
	short := series(func(float64) float64 { return 1 })
	short.Points = short.Points[:8]
	if _, err := growth(short); err == nil || !strings.Contains(err.Error(), "8 times only") {
		t.Errorf("got %v", err)
	}
}
