//go:build unix

package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// aim is what one figure of a run should be. With a subject it is about the ratio of go-chat's figure to that one's.
type aim struct {
	text    string
	figure  string
	subject string
	atLeast float64 // 0: no lower bound
	below   float64 // 0: no upper bound
}

// trial is a scenario with its aims.
type trial struct {
	scenario string
	change   func(*Sizes)
	embedded bool
	tls      bool
	long     string // why it takes too long for every day; empty: it does not
	aims     []aim
}

// trials are the project's goals for speed, each measured in the same run as what it is compared with.
func trials() []trial {
	return []trial{
		{scenario: Fanout, change: func(s *Sizes) {}, aims: []aim{
			{"fan-out to 1,000 at saturation, work for a CPU-second", figurePerCPU, Baseline, 2.5, 0},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Subscribers, s.Rate = 1000, 500 }, aims: []aim{
			{"fan-out to 1,000 at 500 messages/s, p99", figureLatency + " p99", Baseline, 0, 0.5},
		}},
		{scenario: Fanout, change: func(s *Sizes) { s.Rooms, s.Subscribers, s.Senders, s.Window = 100, 9, 1, 16 }, aims: []aim{
			{"100 rooms of 10, deliveries/s", figureDelivered, Baseline, 1, 0},
		}},
		{scenario: Fanout, change: func(s *Sizes) { s.Rooms, s.Subscribers, s.Senders, s.Window = 1000, 1, 1, 4 }, aims: []aim{
			{"1,000 rooms of 2, deliveries/s", figureDelivered, Baseline, 1, 0},
		}},
		{scenario: Ingest, change: func(s *Sizes) {}, aims: []aim{
			{"64 senders, a room each, accepted/s", figureMessages, "", 20_000, 0},
			{"64 senders against 64 bare commits", figureMessages, BareCommits, 1.25, 0},
			{"64 senders against a bare batched insert", figureMessages, BareInsert, 0.35, 0},
		}},
		{scenario: Ingest, change: func(s *Sizes) { s.Rooms, s.Senders = 1, 64 }, aims: []aim{
			{"one hot room of 64 senders, accepted/s", figureMessages, "", 6000, 0},
			{"one hot room, p50 until accepted, ms", figureAccepted + " p50", "", 0, 5},
			{"one hot room, p99 until accepted, ms", figureAccepted + " p99", "", 0, 25},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Subscribers, s.Rate = 1, 20 }, aims: []aim{
			{"one sender, p50 until accepted", figureAccepted + " p50", BareCommit, 0, 1.5},
		}},
		{scenario: Drain, change: func(s *Sizes) {}, aims: []aim{
			{"a backlog against bare confirms one by one", figureMessages, BarePublish, 2, 0},
			{"a backlog against bare consume and store one by one", figureMessages, BareConsume, 2, 0},
		}},
		{scenario: Drain, change: func(s *Sizes) { s.Rows = 500_000 }, long: "500,000 rows", aims: []aim{
			{"500,000 rows after an outage, rows/s", figureMessages, "", 20_000, 0},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Rooms, s.Senders, s.Subscribers, s.Rate = 64, 1, 1, 10_000 }, long: "two minutes at 10,000/s", aims: []aim{
			{"10,000 messages/s for two minutes, accepted/s", figureMessages, "", 9900, 0},
			{"10,000 messages/s for two minutes, p99 until stored, ms", figureStored + " p99", "", 0, 500},
		}},
		{scenario: Join, change: func(s *Sizes) { s.Subscribers = 2000 }, aims: []aim{
			{"2,000 clients join one room, ms until all have", figureAllJoined, "", 0, 2000},
		}},
		{scenario: Join, change: func(s *Sizes) { s.Events = 5_000_000 }, long: "5 million events", aims: []aim{
			{"first page of 5 million events, ms", figureLongPage + " p50", figureShortPage + " p50", 0, 1.5},
		}},
		{scenario: Idle, change: func(s *Sizes) { s.Subscribers, s.Rooms = 10_000, 1000 }, aims: []aim{
			{"10,000 idle connections, KiB for each", figureMemory, "", 0, 12},
		}},
		{scenario: Ingest, embedded: true, change: func(s *Sizes) {}, aims: []aim{
			{"embedded, 64 senders against a bare batched insert", figureMessages, BareInsert, 0.5, 0},
		}},
		{scenario: Idle, embedded: true, tls: true, change: func(s *Sizes) { s.Subscribers, s.Rooms = 10_000, 1000 }, aims: []aim{
			{"10,000 idle connections with TLS, embedded, KiB for each", figureMemory, "", 0, 32},
		}},
	}
}

// unmeasured are the goals that no scenario measures yet, and why.
func unmeasured() []report.Goal {
	var goals []report.Goal
	for _, g := range [][3]string{
		{"one event in an AMQP message against bare confirms", "≥ 0.70 ×", "the relay has no switch that keeps it from batching a backlog"},
		{"one event in an AMQP message against bare consume and store", "≥ 0.60 ×", "likewise"},
		{"cost for each message at 10⁵, 10⁶ and 10⁷ rows", "flat", "no scenario fills the tables of accepting"},
		{"memory over ten minutes of connect, talk, leave", "no growth", "no scenario connects and leaves"},
	} {
		goals = append(goals, report.Goal{Text: g[0], Want: g[1], Outcome: report.NotRun, Why: g[2]})
	}
	return goals
}

// steadyFor is how long the steady rate is held.
const steadyFor = 2 * time.Minute

// Goals says how the goals are measured.
type Goals struct {
	For    time.Duration // each measurement
	Rounds int
	Long   bool // also what takes minutes by itself
	// Divide makes all numbers of connections, rooms and rows smaller. Then no goal is met or missed: to see that it works.
	Divide   int
	Embedded bool // only those that need neither PostgreSQL nor RabbitMQ
}

// RunGoals measures all goals, on installations of its own, and returns the table and the reports behind it. done is
// called with each report. A goal that could not be measured says why; the error is for an end of ctx.
func RunGoals(ctx context.Context, cfg Config, g Goals, done func(Report)) ([]report.Goal, error) {
	var table []report.Goal
	open := make(map[string]*Bench)
	defer func() {
		for _, b := range open {
			b.Close()
		}
	}()
	for _, t := range trials() {
		if why := g.leavesOut(t); why != "" {
			table = append(table, notRun(t, why)...)
			continue
		}
		kind := fmt.Sprint(t.embedded, t.tls)
		b := open[kind]
		var err error
		if b == nil {
			// One installation at a time: an idle broker takes CPU time too.
			for k, other := range open {
				other.Close()
				delete(open, k)
			}
			of := cfg
			of.Embedded, of.TLS = t.embedded, t.tls
			of.Dir = filepath.Join(cfg.Dir, "goals-"+newRun())
			if b, err = Open(ctx, of); err == nil {
				open[kind] = b
			}
		}
		var r Report
		if err == nil {
			p := g.plan(t)
			r, err = b.Run(ctx, p)
			done(r)
		}
		if ctx.Err() != nil {
			return table, ctx.Err()
		}
		if err != nil {
			table = append(table, notRun(t, err.Error())...)
			continue
		}
		for _, a := range t.aims {
			table = append(table, a.judge(r, g.Divide > 1))
		}
	}
	return append(table, unmeasured()...), nil
}

func (g Goals) leavesOut(t trial) string {
	switch {
	case t.long != "" && !g.Long:
		return t.long + ": with --long"
	case g.Embedded && !t.embedded:
		return "needs the split installation"
	}
	return ""
}

func (g Goals) plan(t trial) Plan {
	p := Plan{Scenario: t.scenario, Sizes: DefaultSizes(t.scenario), For: g.For, Rounds: g.Rounds, Command: "gochat bench all"}
	t.change(&p.Sizes)
	for _, a := range t.aims {
		p.Baseline = p.Baseline || a.subject == Baseline || a.subject == BareInsert || a.subject == BareCommits || a.subject == BareCommit ||
			a.subject == BarePublish || a.subject == BareConsume
	}
	if t.scenario == Latency && t.long != "" {
		p.For, p.Rounds = steadyFor, 1
	}
	if g.Divide > 1 {
		for _, n := range []*int{&p.Rooms, &p.Subscribers, &p.Senders, &p.Rows, &p.Events} {
			if *n > 1 {
				*n = max(1, *n/g.Divide)
			}
		}
	}
	return p
}

func notRun(t trial, why string) (goals []report.Goal) {
	for _, a := range t.aims {
		goals = append(goals, report.Goal{Text: a.text, Want: a.want(), Outcome: report.NotRun, Why: why})
	}
	return goals
}

func (a aim) want() string {
	ratio := ""
	if a.subject != "" {
		ratio = " ×"
	}
	if a.atLeast > 0 {
		return fmt.Sprintf("≥ %s%s", report.Number(a.atLeast), ratio)
	}
	return fmt.Sprintf("< %s%s", report.Number(a.below), ratio)
}

// judge compares a report with the aim. The median decides.
func (a aim) judge(r Report, smaller bool) report.Goal {
	goal := report.Goal{Text: a.text, Want: a.want(), Outcome: report.NotRun, Why: "it was not measured"}
	s, ok := r.Find(Subject, a.figure)
	if !ok {
		return goal
	}
	got := s.Over
	goal.Measured = report.Number(got.Median)
	if s.Unit != "" {
		goal.Measured += " " + s.Unit
	}
	if a.subject != "" {
		base, ok := r.Find(a.subject, a.figure)
		switch {
		case ok && base.Ratio != nil:
			got = *base.Ratio
		default:
			if _, ok := r.Find(Subject, a.subject); !ok {
				return goal
			}
			// Two figures of the same rounds.
			got = stats.SpreadOf(stats.Ratios(r.Figures(Subject, a.figure), r.Figures(Subject, a.subject)))
		}
		goal.Ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", got.Median, got.Min, got.Max)
	}
	goal.Why = ""
	switch {
	case smaller:
		goal.Outcome, goal.Why = report.NotRun, "smaller than the goal says"
	case !r.Valid:
		goal.Outcome, goal.Why = report.Invalid, r.Invalid[0]
	case got.Median >= a.atLeast && (a.below == 0 || got.Median < a.below):
		goal.Outcome = report.Met
	default:
		goal.Outcome = report.NotMet
	}
	return goal
}
