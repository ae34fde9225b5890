//go:build unix

package bench

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// Goals says how the goals are measured.
type Goals struct {
	For    time.Duration // each measurement
	Rounds int
	Long   bool // also what takes minutes by itself
	// Divide makes all sizes, times and numbers of rounds smaller. Then no goal is met or missed: to see that it works.
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
	return table, nil
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
	p := Plan{Scenario: t.scenario, Sizes: DefaultSizes(t.scenario), For: g.For, Rounds: g.Rounds, Of: t.of, At: slices.Clone(t.at), Command: "gochat bench all"}
	if t.change != nil {
		t.change(&p.Sizes)
	}
	for _, a := range t.aims {
		p.Baseline = p.Baseline || slices.Contains(compared, a.subject)
	}
	if t.lasts > 0 {
		p.For, p.Rounds = t.lasts, 1
	}
	if g.Divide > 1 {
		p.For, p.Rounds = max(p.For/time.Duration(g.Divide), shortest), max(1, p.Rounds/g.Divide)
		for _, n := range []*int{&p.Rooms, &p.Subscribers, &p.Senders, &p.Rows, &p.Events} {
			if *n > 1 {
				*n = max(1, *n/g.Divide)
			}
		}
		for i := range p.At {
			p.At[i] = max(1, p.At[i]/g.Divide)
		}
	}
	return p
}

// shortest is a measurement of which something can be seen still.
const shortest = 300 * time.Millisecond

func notRun(t trial, why string) (goals []report.Goal) {
	for _, a := range t.aims {
		goals = append(goals, report.Goal{Text: a.text, Want: a.want(), Outcome: report.NotRun, Why: why})
	}
	return goals
}

const smallerThan = "smaller than the goal says"

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
	if smaller {
		goal.Why = smallerThan
	}
	of := cmp.Or(a.of, Subject)
	s, ok := r.Find(of, a.figure)
	if !ok {
		return goal
	}
	got := s.Over
	goal.Measured = report.Number(got.Median)
	if s.Unit != "" {
		goal.Measured += " " + s.Unit
	}
	if a.subject != "" {
		by, figure := a.subject, a.figure
		if _, ok := r.Find(of, by); ok { // another figure of the same subject
			by, figure = of, a.subject
		}
		ratios := stats.Ratios(r.Figures(of, a.figure), r.Figures(by, figure))
		if len(ratios) == 0 {
			return goal
		}
		got = stats.SpreadOf(ratios)
		goal.Ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", got.Median, got.Min, got.Max)
	}
	goal.Why = r.NotValid(of, a.subject)
	switch {
	case smaller:
		goal.Outcome, goal.Why = report.NotRun, smallerThan
	case goal.Why != "":
		goal.Outcome = report.Invalid
	case got.Median >= a.atLeast && (a.below == 0 || got.Median < a.below):
		goal.Outcome = report.Met
	default:
		goal.Outcome = report.NotMet
	}
	return goal
}
