//go:build unix

package bench_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/bench"
	"github.com/rafaeldepontes/go-chat/internal/bench/baseline"
)

// program is built once for all tests.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gochat-bench-test-")
	if err == nil {
		program = filepath.Join(dir, "gochat")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, "github.com/rafaeldepontes/go-chat/cmd/gochat").CombinedOutput(); err != nil {
			_, _ = os.Stderr.Write(out)
		}
	}
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { _ = os.RemoveAll(dir); os.Exit(code) }))
}

func mustOpen(t *testing.T, cfg bench.Config) *bench.Bench {
	t.Helper()
	cfg.Program, cfg.Dir = program, t.TempDir()
	b, err := bench.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// mustMeasure runs a scenario and looks at what must hold in any run: every round of every subject is there, and each
// event that it counted came once.
func mustMeasure(t *testing.T, b *bench.Bench, p bench.Plan, subjects ...string) bench.Report {
	t.Helper()
	r, err := b.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(r.Rounds), p.Rounds*len(subjects); got != want {
		t.Errorf("got %d measurements, want %d", got, want)
	}
	for i, round := range r.Rounds {
		if want := subjects[i%len(subjects)]; round.Subject != want || round.Number != i/len(subjects)+1 {
			t.Errorf("measurement %d: got round %d of %s, want %d of %s", i, round.Number, round.Subject, i/len(subjects)+1, want)
		}
		for _, broken := range []string{"missing", "repeated", "refused"} {
			if n := round.Counts[broken]; n != 0 {
				t.Errorf("round %d of %s: %d events %s", round.Number, round.Subject, n, broken)
			}
		}
	}
	return r
}

// mustCount checks the counts of traffic: every send accepted, every accepted message delivered to all of its room.
func mustCount(t *testing.T, r bench.Report, connections, inRoom int64) {
	t.Helper()
	for _, round := range r.Rounds {
		if round.Subject != bench.Subject && round.Subject != bench.Baseline {
			continue
		}
		c := round.Counts
		if c["sent"] == 0 || c["accepted"] != c["sent"] || c["delivered"] != c["sent"]*inRoom || c["connections"] != connections {
			t.Errorf("round %d of %s: got %v, want all accepted and delivered to %d, over %d connections", round.Number, round.Subject, c, inRoom, connections)
		}
	}
}

// Each scenario for a moment against a gochat up of its own, beside what it is compared with.
func TestScenarios(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, bench.Config{Embedded: true})
	plan := func(scenario string, change func(*bench.Plan)) bench.Plan {
		p := bench.Plan{Scenario: scenario, Sizes: bench.DefaultSizes(scenario), For: 500 * time.Millisecond, Rounds: 2, Baseline: true}
		change(&p)
		return p
	}
	t.Run(bench.Fanout, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Fanout, func(p *bench.Plan) {
			p.Rooms, p.Subscribers, p.Senders, p.Window = 3, 5, 2, 8
		}), bench.Subject, bench.Baseline)
		mustCount(t, r, 21, 7)
		if s, ok := r.Find(bench.Baseline, "deliveries"); !ok || s.Ratio == nil || s.Ratio.Median <= 0 || s.Rounds != 2 {
			t.Errorf("got %+v; want a ratio over two rounds", s)
		}
	})
	t.Run(bench.Ingest, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Ingest, func(p *bench.Plan) { p.Rooms = 8 }), bench.Subject, bench.BareInsert)
		mustCount(t, r, 8, 1)
		if s, ok := r.Find(bench.BareInsert, "messages"); !ok || s.Ratio == nil {
			t.Errorf("got %+v; want a ratio to the bare insert", s)
		}
	})
	t.Run(bench.Latency, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Latency, func(p *bench.Plan) { p.Rooms, p.Subscribers, p.Rate = 2, 3, 50 }),
			bench.Subject, bench.Baseline, bench.BareCommit)
		mustCount(t, r, 8, 4)
		for _, figure := range []string{"accepted p50", "delivered p99.9", "stored p99"} {
			if s, ok := r.Find(bench.Subject, figure); !ok || s.Over.Min <= 0 {
				t.Errorf("%s: got %+v", figure, s)
			}
		}
	})
	t.Run(bench.Idle, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Idle, func(p *bench.Plan) { p.Subscribers, p.Rooms, p.Rounds = 300, 30, 1 }), bench.Subject, bench.Baseline)
		if s, ok := r.Find(bench.Subject, "resident memory for each connection"); !ok || s.Over.Min <= 0 {
			t.Errorf("got %+v", s)
		}
		for _, round := range r.Rounds {
			if len(round.Series) != 1 || len(round.Series[0].Points) < 2 {
				t.Errorf("%s: got %+v, want its memory over time", round.Subject, round.Series)
			}
		}
	})
	t.Run(bench.Join, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Join, func(p *bench.Plan) { p.Subscribers, p.Events, p.Rounds = 60, 2500, 1 }), bench.Subject, bench.Baseline)
		for _, round := range r.Rounds {
			want := map[string]int64{bench.Subject: 60 * 50, bench.Baseline: 0}[round.Subject] // the newest 50 for each
			if round.Counts["joined"] != 60 || round.Counts["delivered"] != want {
				t.Errorf("%s: got %v, want 60 joined and %d events", round.Subject, round.Counts, want)
			}
		}
		if s, ok := r.Find(bench.Subject, "first page, long room p50"); !ok || s.Over.Min <= 0 {
			t.Errorf("got %+v", s)
		}
	})
	t.Run(bench.Churn, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Churn, func(p *bench.Plan) {
			p.Subscribers, p.Rooms, p.Window = 8, 3, 2
			p.For = 2 * time.Second // a hundred looks at the memory, of which a busy machine may miss many
		}), bench.Subject)
		for _, round := range r.Rounds {
			c := round.Counts
			if c["connections"] == 0 || c["sent"] != 2*c["connections"] || c["accepted"] != c["sent"] || c["delivered"] < c["sent"] {
				t.Errorf("%s: got %v, want two messages of each connection, which saw them", round.Subject, c)
			}
		}
		for _, figure := range []string{"server memory, last third ÷ middle third", "server memory, last third", "from connecting to leaving p50"} {
			if s, ok := r.Find(bench.Subject, figure); !ok || s.Over.Min <= 0 {
				t.Errorf("%s: got %+v", figure, s)
			}
		}
	})
	t.Run(bench.Sweep, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Sweep, func(p *bench.Plan) {
			p.Of, p.At, p.Rooms, p.Rounds = bench.OfTable, []int{1000, 5000}, 8, 1
			p.For = 2 * time.Second // a commit may take a good part of it
		}), "1,000 rows", "5,000 rows")
		for i, round := range r.Rounds {
			if want := []float64{1000, 5000}[i]; round.Size != want || round.Counts["accepted"] == 0 || round.Counts["delivered"] != round.Counts["sent"] {
				t.Errorf("round %d: got size %v, %v; want %v", round.Number, round.Size, round.Counts, want)
			}
		}
		for _, figure := range []string{"CPU of the server for each delivery", "CPU of all sides for each message"} {
			if s, ok := r.Find("5,000 rows", figure); !ok || s.Over.Min <= 0 || s.Ratio == nil {
				t.Errorf("%s: got %+v", figure, s)
			}
		}
		_, err := b.Run(t.Context(), bench.Plan{Scenario: bench.Sweep, Of: "moons", Rounds: 1})
		if err == nil || !strings.Contains(err.Error(), `no sweep of "moons"`) {
			t.Errorf("got %v", err)
		}
	})
	t.Run(bench.Drain, func(t *testing.T) {
		r := mustMeasure(t, b, plan(bench.Drain, func(p *bench.Plan) { p.Rows, p.Rooms, p.Rounds = 3000, 7, 1 }), bench.Subject)
		for _, round := range r.Rounds {
			if got, want := round.Counts["rows"], int64(3000/7*7); got != want {
				t.Errorf("got %d rows, want %d", got, want)
			}
		}
		if !r.Valid {
			t.Errorf("not valid: %v", r.Invalid)
		}
		if s, ok := r.Find(bench.Subject, "server memory, at most"); !ok || s.Over.Min <= 0 {
			t.Errorf("got %+v", s)
		}
	})
}

// The split installation, with the bare components on its own servers.
func TestSplit(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, bench.Config{OutboxFrom: time.Millisecond})
	p := bench.Plan{Scenario: bench.Ingest, Sizes: bench.DefaultSizes(bench.Ingest), For: 500 * time.Millisecond, Rounds: 1, Baseline: true}
	p.Rooms = 4
	mustCount(t, mustMeasure(t, b, p, bench.Subject, bench.BareInsert, bench.BareCommits), 4, 1)

	p.Scenario, p.Baseline, p.Rate = bench.Latency, false, 50
	for _, round := range mustMeasure(t, b, p, bench.Subject).Rounds {
		if len(round.Series) != 1 || round.Series[0].Name != "outbox" || len(round.Series[0].Points) < 2 {
			t.Errorf("got %+v, want the outbox over time", round.Series)
		}
	}
	p.Baseline, p.Rate = true, 0

	p.Scenario, p.Rows = bench.Stages, 8000
	r := mustMeasure(t, b, p, bench.Subject, bench.OneByOne, bench.BarePublish, bench.BareRouted, bench.BareConsume)
	for _, round := range r.Rounds {
		if n := round.Counts["rows"]; n != 8000 && round.Subject != bench.BarePublish && round.Subject != bench.BareRouted || n == 0 {
			t.Errorf("%s: got %d rows", round.Subject, n)
		}
		switch n := round.Counts["messages"]; {
		case round.Subject == bench.Subject && (n == 0 || n > 8000/20), round.Subject == bench.OneByOne && n != 8000:
			t.Errorf("%s: got %d messages", round.Subject, n)
		}
	}
	for _, figure := range []string{"published", "consumed and stored"} {
		for _, subject := range []string{bench.Subject, bench.OneByOne} {
			if s, ok := r.Find(subject, figure); !ok || s.Over.Min <= 0 {
				t.Errorf("%s, %s: got %+v", subject, figure, s)
			}
		}
	}

	// The tables of another database and other queues on the same servers.
	p = bench.Plan{Scenario: bench.Sweep, Of: bench.OfTable, At: []int{2000}, For: 300 * time.Millisecond, Rounds: 1}
	p.Rooms = 4
	mustCount(t, mustMeasure(t, b, p, "2,000 rows"), 4, 1)
}

// TLS connections are read by another path.
func TestTLS(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, bench.Config{Embedded: true, TLS: true})
	p := bench.Plan{Scenario: bench.Fanout, Sizes: bench.DefaultSizes(bench.Fanout), For: 300 * time.Millisecond, Rounds: 1}
	p.Subscribers, p.Senders, p.Window = 5, 4, 8
	mustCount(t, mustMeasure(t, b, p, bench.Subject), 9, 9)
}

// serveBaseline runs the broadcaster in this process.
func serveBaseline(t *testing.T) *url.URL {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- new(baseline.Server).Run(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "ws", Host: lis.Addr().String()}
}

func TestAnotherServer(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, bench.Config{Server: serveBaseline(t), PIDs: []int{os.Getpid()}})
	p := bench.Plan{Scenario: bench.Fanout, Sizes: bench.DefaultSizes(bench.Fanout), For: 300 * time.Millisecond, Rounds: 2}
	p.Rooms, p.Subscribers, p.Senders, p.Window = 2, 70, 4, 16 // more than are timed
	p.Lag = 1                                                  // so that senders wait for readers again and again
	mustCount(t, mustMeasure(t, b, p, bench.Subject), 148, 74)

	p.Scenario = bench.Drain
	if _, err := b.Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "installation of its own") {
		t.Errorf("got %v; want that drain needs an own installation", err)
	}
}
