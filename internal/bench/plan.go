//go:build unix

package bench

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scenarios.
const (
	Fanout  = "fanout"
	Ingest  = "ingest"
	Latency = "latency"
	Idle    = "idle"
	Join    = "join"
	Drain   = "drain"
	Stages  = "stages"
	Churn   = "churn"
	Sweep   = "sweep"
)

// Scenarios returns the names of all.
func Scenarios() []string {
	return []string{Fanout, Ingest, Latency, Idle, Join, Drain, Stages, Churn, Sweep}
}

// Known tells whether there is such a scenario.
func Known(scenario string) bool { return slices.Contains(Scenarios(), scenario) }

// Sizes are the numbers of a scenario; a field that it does not use is ignored.
type Sizes struct {
	Rooms       int     // that are used at once
	Subscribers int     // in each room, who only read; in idle, join and churn all connections
	Senders     int     // in each room
	Window      int     // messages in flight of each sender, at saturation; in churn messages of each connection
	Lag         int     // how far the slowest reader may be behind, in messages, before senders wait, at saturation; 0: any
	Rate        float64 // messages a second of all senders together, in churn connections; 0: saturation
	TextBytes   int
	Rows        int // of the backlog in drain and stages
	Events      int // in the long room of join
}

// DefaultSizes are those of a scenario.
func DefaultSizes(scenario string) Sizes {
	s := Sizes{Rooms: 1, TextBytes: 100}
	switch scenario {
	case Fanout:
		s.Subscribers, s.Senders, s.Window, s.Lag = 1000, 8, 64, 500
	case Ingest:
		s.Rooms, s.Senders, s.Window = 64, 1, 1
	case Latency:
		s.Subscribers, s.Senders, s.Window, s.Rate = 100, 1, 1, 500
	case Idle:
		s.Subscribers, s.Rooms, s.TextBytes = 1000, 100, 0
	case Join:
		s.Subscribers, s.Events, s.TextBytes = 1000, 100_000, 0
	case Drain, Stages:
		s.Rows, s.Rooms = 100_000, 64
	case Churn:
		s.Subscribers, s.Rooms, s.Window = 32, 20, 3
	case Sweep:
		s = Sizes{} // as fits what is swept
	}
	return s
}

// DefaultLength is how long a measurement of a scenario lasts, and how often it is repeated: growth needs one that is long.
func DefaultLength(scenario string) (each time.Duration, rounds int) {
	if scenario == Churn {
		return time.Minute, 1
	}
	return 5 * time.Second, 5
}

// headline are the figures of a scenario that are drawn.
func headline(scenario string) []string {
	switch scenario {
	case Fanout:
		return []string{figureDelivered, figurePerCPU}
	case Ingest:
		return []string{figureMessages, figureAccepted + " p50"}
	case Latency:
		return []string{figureAccepted + " p99", figureLatency + " p99", figureStored + " p99"}
	case Idle:
		return []string{figureMemory}
	case Join:
		return []string{figureAllJoined}
	case Stages:
		return []string{figurePublished, figureConsumed}
	case Churn:
		return []string{figureConnections}
	case Sweep:
		return []string{figureCPUDelivery, figureCPUMessage, figureMessages}
	default:
		return []string{figureMessages}
	}
}

// Plan is one scenario to run.
type Plan struct {
	Scenario string
	Sizes
	For      time.Duration // each measurement
	Rounds   int
	Baseline bool   // also what it is compared with
	Of       string // what a sweep changes; see [Sweeps]
	At       []int  // its sizes; none: as fits
	Command  string // runs it again
}

// broadcasts tells whether the plain broadcaster is what the scenario is compared with.
func (p Plan) broadcasts(own bool) bool {
	switch p.Scenario {
	case Fanout, Latency, Idle, Join:
		return true
	default:
		return p.Scenario == Ingest && !own
	}
}

func (p Plan) axis() string {
	if p.Scenario != Sweep {
		return ""
	}
	return sweeps[p.Of].axis
}

func (p Plan) parameters() map[string]string {
	all := map[string]string{"for": p.For.String(), "rounds": strconv.Itoa(p.Rounds)}
	for name, n := range map[string]int{
		"rooms": p.Rooms, "subscribers": p.Subscribers, "senders": p.Senders, "window": p.Window, "lag": p.Lag, "text_bytes": p.TextBytes, "rows": p.Rows, "events": p.Events,
	} {
		if n != 0 {
			all[name] = strconv.Itoa(n)
		}
	}
	if p.Rate > 0 {
		all["rate"] = strconv.FormatFloat(p.Rate, 'f', -1, 64)
	}
	if p.Scenario == Sweep {
		all["of"] = p.Of
		var sizes []string
		for _, n := range p.sizes() {
			sizes = append(sizes, strconv.Itoa(n))
		}
		all["sizes"] = strings.Join(sizes, ",")
	}
	return all
}
