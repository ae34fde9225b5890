//go:build unix

package bench

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

func TestWhereTheGeneratorIsTheLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		generator, side float64
		cores           int
		known, limited  bool
	}{
		{"both idle", 0.1, 0.1, 2, true, false},
		{"the server is busy, the generator is not", 0.3, 1.6, 2, true, false},
		{"both are busy: the server had its half", 0.95, 0.95, 2, true, false},
		{"the generator is busy, the server is not", 0.95, 0.5, 2, true, true},
		{"the same on more cores is little", 0.95, 0.5, 8, true, false},
		{"the generator took more than its half", 1.5, 0.4, 2, true, true},
		{"a server elsewhere, half of our cores", 1.0, 0, 2, false, false},
		{"a server elsewhere, nearly all of our cores", 1.9, 0, 2, false, true},
	} {
		u := report.Usage{GeneratorCPU: tt.generator, SideCPU: tt.side}
		if got := limitedBy(u, tt.cores, tt.known); (got != "") != tt.limited {
			t.Errorf("%s: got %q", tt.name, got)
		}
	}
}

func TestWhereTheGeneratorIsLate(t *testing.T) {
	t.Parallel()
	const us, ms = time.Microsecond, time.Millisecond
	for _, tt := range []struct {
		name                      string
		messages                  int
		late, tailLate            time.Duration // of most, and of 2%
		latency, tail             time.Duration
		invalid, note, inTheirP99 bool
	}{
		{"as late as any timer", 5000, 100 * us, 150 * us, 150 * us, 200 * us, false, false, false},
		{"late in little of what was measured", 5000, 2 * ms, 2 * ms, 50 * ms, 50 * ms, false, false, false},
		{"late in half of it", 5000, 30 * ms, 30 * ms, 50 * ms, 50 * ms, true, false, false},
		{"the tail is late", 5000, 10 * us, 30 * ms, 5 * ms, 50 * ms, true, false, true},
		{"the tail of few is late", 100, 10 * us, 30 * ms, 5 * ms, 50 * ms, false, true, true},
		{"few are late", 100, 30 * ms, 30 * ms, 50 * ms, 50 * ms, true, false, false},
	} {
		var late, latency stats.Histogram
		for i := range tt.messages {
			by, took := tt.late, tt.latency
			if i%50 == 0 {
				by, took = tt.tailLate, tt.tail
			}
			late.Record(by)
			latency.Record(took)
		}
		invalid, note := lateBy(&late, &latency)
		if (invalid != "") != tt.invalid || (note != "") != tt.note || strings.Contains(invalid+note, "p99") != tt.inTheirP99 {
			t.Errorf("%s: got %q, %q", tt.name, invalid, note)
		}
	}
}

func TestUsageBetween(t *testing.T) {
	t.Parallel()
	at := time.Now()
	a := usage{at: at, server: time.Second, side: 2 * time.Second, generator: time.Second, machine: 10 * time.Second, rss: 5}
	b := usage{at: at.Add(2 * time.Second), server: 2 * time.Second, side: 4 * time.Second, generator: 1500 * time.Millisecond, machine: 13 * time.Second, rss: 7}
	want := report.Usage{ServerCPU: 0.5, SideCPU: 1, GeneratorCPU: 0.25, OthersCPU: 0.25, ServerRSS: 7}
	if got := between(a, b); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := between(a, a); got != (report.Usage{}) {
		t.Errorf("no time: got %+v", got)
	}
}

func TestAimsAreJudged(t *testing.T) {
	t.Parallel()
	r := Report{}
	for n, values := range [][2]float64{{10, 4}, {12, 4}, {30, 10}} {
		for i, subject := range []string{Subject, Baseline} {
			r.Rounds = append(r.Rounds, report.Round{Number: n + 1, Subject: subject, Measurement: report.Measurement{
				Figures: []report.Figure{{Name: "x", Unit: "/s", Value: values[i]}, {Name: "z", Value: 2}},
			}})
		}
	}
	r.Summarise()
	for _, tt := range []struct {
		aim     aim
		outcome string
		ratio   string
	}{
		{aim{figure: "x", atLeast: 12}, report.Met, ""},
		{aim{figure: "x", atLeast: 13}, report.NotMet, ""},
		{aim{figure: "x", below: 12}, report.NotMet, ""},
		{aim{figure: "x", subject: Baseline, atLeast: 3}, report.Met, "3.00 (2.50 to 3.00)"},
		{aim{figure: "x", subject: Baseline, below: 3}, report.NotMet, "3.00 (2.50 to 3.00)"},
		{aim{figure: "x", of: Baseline, atLeast: 4, below: 4.1}, report.Met, ""},
		{aim{figure: "x", of: Baseline, subject: Subject, below: 0.35}, report.Met, "0.33 (0.33 to 0.40)"},
		{aim{figure: "x", subject: "z", atLeast: 2}, report.Met, "6.00 (5.00 to 15.00)"},
		{aim{figure: "y", atLeast: 1}, report.NotRun, ""},
		{aim{figure: "x", of: "nobody", atLeast: 1}, report.NotRun, ""},
		{aim{figure: "x", subject: "nobody", atLeast: 1}, report.NotRun, ""},
	} {
		if got := tt.aim.judge(r, false); got.Outcome != tt.outcome || got.Ratio != tt.ratio {
			t.Errorf("%+v: got %+v", tt.aim, got)
		}
	}
	if got := (aim{figure: "x", atLeast: 1}).judge(r, true); got.Outcome != report.NotRun || got.Measured != "12.0 /s" {
		t.Errorf("smaller: got %+v", got)
	}
	r.Rounds[3].Invalid = []string{"the generator was the limit: it used 1.9 cores"}
	r.Summarise()
	if got, want := (aim{figure: "x", subject: Baseline, atLeast: 1}).judge(r, false), "baseline, 1 of 3 rounds: the generator was the limit"; got.Outcome != report.Invalid || got.Why != want {
		t.Errorf("not valid: got %+v, want %s", got, want)
	}
	if got := (aim{figure: "x", atLeast: 1}).judge(r, false); got.Outcome != report.Met || got.Why != "" {
		t.Errorf("only the baseline is not valid: got %+v", got)
	}
}

func TestPlansOfGoals(t *testing.T) {
	t.Parallel()
	g := Goals{For: time.Second, Rounds: 3}
	table := trial{scenario: Sweep, of: OfTable, at: []int{100_000, 1_000_000}}
	if p := g.plan(table); p.Of != OfTable || !slices.Equal(p.At, table.at) || p.Rounds != 3 || p.Baseline {
		t.Errorf("got %+v", p)
	}
	long := trial{scenario: Churn, lasts: 10 * time.Minute, aims: []aim{{subject: BareCommit}}}
	if p := g.plan(long); p.For != 10*time.Minute || p.Rounds != 1 || !p.Baseline {
		t.Errorf("got %+v", p)
	}
	g.Divide = 20
	if p := g.plan(table); !slices.Equal(p.At, []int{5000, 50_000}) || p.Rounds != 1 || p.For != shortest || table.at[0] != 100_000 {
		t.Errorf("smaller: got %v, and the trial has %v", p.At, table.at)
	}
	if p := g.plan(long); p.For != 30*time.Second {
		t.Errorf("smaller: got %s", p.For)
	}
	// Every aim can be judged: its subjects are measured, under the names that it has.
	for _, tr := range trials() {
		for _, a := range tr.aims {
			if tr.scenario == Sweep && (!slices.Contains(tr.at, sizeOf(a.of)) || !slices.Contains(tr.at, sizeOf(a.subject))) {
				t.Errorf("%s: no such size in %v", a.text, tr.at)
			}
		}
	}
}

// sizeOf reads the name of a sweep's subject.
func sizeOf(name string) int {
	number, _, _ := strings.Cut(name, " ")
	n, _ := strconv.Atoi(strings.ReplaceAll(number, ",", ""))
	return n
}
