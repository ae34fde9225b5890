//go:build unix

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// Names of what is looked at.
const (
	serverMemory    = "server memory" // of the process that serves the clients
	persisterMemory = "persister memory"
	outboxRows      = "outbox"
)

// watched is something that is looked at over time.
type watched struct {
	name, unit string
	look       func(context.Context) (v float64, ok bool) // not ok: it is not known
}

// memoryOf is the resident memory of processes.
func memoryOf(name string, pids func() []int) watched {
	return watched{name, "MiB", func(context.Context) (float64, bool) {
		_, rss := processes(pids())
		return float64(rss) / (1 << 20), rss > 0
	}}
}

// watch looks at all of them again and again, a few hundred times in a length. What it returns looks once more and ends that.
func watch(ctx context.Context, length time.Duration, of []watched) (stop func() []report.Series) {
	every := min(max(length/300, 20*time.Millisecond), 2*time.Second)
	all := make([]report.Series, len(of))
	for i, w := range of {
		all[i] = report.Series{Name: w.name, Unit: w.unit}
	}
	began := time.Now()
	look := func() {
		for i, w := range of {
			if v, ok := w.look(ctx); ok {
				all[i].Points = append(all[i].Points, report.Sample{Seconds: time.Since(began).Seconds(), Value: v})
			}
		}
	}
	looking, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for look(); pause(looking, every); {
			look()
		}
	})
	return func() []report.Series {
		cancel()
		wg.Wait()
		look()
		return slices.DeleteFunc(all, func(s report.Series) bool { return len(s.Points) == 0 }) // not known
	}
}

// figureGrowth is the rule by which memory that grows is told from memory that is full.
func figureGrowth(of string) string { return of + ", last third ÷ middle third" }

// growth tells whether memory grew: medians of thirds, since a single look may fall before or after a collection, and the
// slope of the second half by least squares. The first third may grow: that is caches that fill.
func growth(s report.Series) ([]report.Figure, error) {
	n := len(s.Points)
	if n < 9 {
		return nil, fmt.Errorf("%s was seen %d times only, too few to tell whether it grows", s.Name, n)
	}
	first, middle, last := medianOf(s.Points[:n/3]), medianOf(s.Points[n/3:2*n/3]), medianOf(s.Points[2*n/3:])
	var x, y []float64
	for _, p := range s.Points[n/2:] {
		x, y = append(x, p.Seconds/60), append(y, p.Value)
	}
	return []report.Figure{
		{Name: figureGrowth(s.Name), Value: last / middle},
		{Name: s.Name + ", growth in the second half", Unit: "MiB/min", Value: stats.Slope(x, y)},
		{Name: s.Name + ", first third", Unit: s.Unit, Value: first},
		{Name: s.Name + ", last third", Unit: s.Unit, Value: last},
	}, nil
}

// grown adds to a measurement whether the memory in its series grew.
func grown(m *report.Measurement) {
	if len(m.Series) == 0 {
		m.Notes = append(m.Notes, "the memory of the server is not known: on Linux name its processes with --pid")
	}
	for _, s := range m.Series {
		figures, err := growth(s)
		if err != nil {
			m.Notes = append(m.Notes, err.Error())
		}
		m.Figures = append(append(m.Figures, figures...), report.Figure{Name: atMost(s.Name), Unit: s.Unit, Value: highest(s.Points)})
	}
}

// atMost is the figure of the highest value that was seen.
func atMost(of string) string { return of + ", at most" }

func highest(points []report.Sample) float64 {
	most := points[0].Value
	for _, p := range points {
		most = max(most, p.Value)
	}
	return most
}

func medianOf(points []report.Sample) float64 {
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = p.Value
	}
	return stats.SpreadOf(values).Median
}
