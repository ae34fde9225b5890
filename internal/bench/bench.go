//go:build unix

// Package bench is the project's load generator: many raw connections to a chat room, in scenarios that measure one thing
// each, in rounds that alternate with what go-chat is compared with.
//
// A measurement that says more about the generator than about the server is called invalid, and so is one in which a
// message was refused, lost, repeated or out of order: every event is accounted for.
//
// Goroutines: a reader for each connection, a writer for each sender at a rate; each scenario owns them and waits. Servers
// of an own installation die with the process (on Linux).
package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/wire"
)

// Report is what a scenario leaves behind.
type Report = report.Report

// Names of what is measured.
const (
	Subject  = "go-chat"
	Baseline = "baseline" // the gorilla broadcaster
)

// Scenarios.
const (
	Fanout  = "fanout"
	Ingest  = "ingest"
	Latency = "latency"
	Idle    = "idle"
	Join    = "join"
	Drain   = "drain"
)

// Scenarios returns the names of all.
func Scenarios() []string { return []string{Fanout, Ingest, Latency, Idle, Join, Drain} }

// Known tells whether there is such a scenario.
func Known(scenario string) bool { return slices.Contains(Scenarios(), scenario) }

// Sizes are the numbers of a scenario; a field that it does not use is ignored.
type Sizes struct {
	Rooms       int     // that are used at once
	Subscribers int     // in each room, who only read; in idle and join all connections
	Senders     int     // in each room
	Window      int     // messages in flight of each sender, at saturation
	Lag         int     // how far the slowest reader may be behind, in messages, before senders wait, at saturation; 0: any
	Rate        float64 // messages a second of all senders together; 0: saturation
	TextBytes   int
	Rows        int // of the backlog in drain
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
	case Drain:
		s.Rows, s.Rooms = 100_000, 64
	}
	return s
}

// Config of the server and of the rounds.
type Config struct {
	Program  string   // the gochat program, for processes of our own
	Dir      string   // for data and logs of an own installation and of the baseline
	Env      []string // more environment for the processes
	Embedded bool     // the own installation is one gochat up
	TLS      bool     // the own installation speaks TLS

	Server *url.URL    // measures this one; nil: an own installation
	Trust  *tls.Config // for wss
	PIDs   []int       // of that server's processes; empty: their use is not known

	Version     string
	DrainWithin time.Duration  // for what is under way when a round's sending ends; 0: 30 s
	Tell        func(Progress) // may be nil
}

// Progress is what a display shows.
type Progress struct {
	Scenario, Subject string
	Round, Rounds     int    // Round is 0 while it starts and warms up
	Text              string // what goes on
}

// Plan is one scenario to run.
type Plan struct {
	Scenario string
	Sizes
	For      time.Duration // each measurement
	Rounds   int
	Baseline bool   // also what it is compared with
	Command  string // runs it again
}

// subject is something that a round can measure.
type subject interface {
	name() string
	measure(ctx context.Context, length time.Duration) (report.Measurement, error)
}

// Bench is an open server, for any number of scenarios. Close it.
type Bench struct {
	cfg       Config
	server    *server
	own       *installation // nil: somebody else's server
	broadcast *server       // nil until it is needed
	closers   []func()
}

// Open starts an installation, or takes the server that is configured.
func Open(ctx context.Context, cfg Config) (*Bench, error) {
	if cfg.Tell == nil {
		cfg.Tell = func(Progress) {}
	}
	if cfg.DrainWithin == 0 {
		cfg.DrainWithin = 30 * time.Second
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	b := &Bench{cfg: cfg}
	if cfg.Server != nil {
		pids := slices.Clone(cfg.PIDs)
		b.server = &server{
			name: Subject, dialer: &wire.Dialer{Server: cfg.Server, TLS: cfg.Trust, Protocol: frame.Protocol},
			front: func() []int { return pids }, back: func() []int { return nil },
		}
		return b, nil
	}
	cfg.Tell(Progress{Text: "starting an installation"})
	own, err := install(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b.own, b.server = own, own.server()
	b.closers = append(b.closers, own.close)
	return b, nil
}

// Close ends all that Open and the scenarios started.
func (b *Bench) Close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
	b.closers = nil
}

// Run measures one scenario. The error says that it could not be measured; the report is complete in any case.
func (b *Bench) Run(ctx context.Context, p Plan) (Report, error) {
	if b.own == nil {
		p.Events = 0 // nobody fills the rooms of another server
	}
	r := Report{
		Scenario: p.Scenario, Version: b.cfg.Version, Machine: machine(), Started: time.Now().UTC(), Command: p.Command, Server: b.kind(),
		Parameters: p.parameters(), Invalid: []string{},
	}
	err := b.run(ctx, p, &r)
	r.DurationMS = time.Since(r.Started).Milliseconds()
	if err != nil {
		r.Error = err.Error()
	}
	r.Summarise()
	return r, err
}

func (b *Bench) kind() string {
	switch {
	case b.own == nil:
		return b.cfg.Server.Redacted()
	case b.cfg.Embedded:
		return "embedded, of its own"
	default:
		return "split, of its own"
	}
}

func machine() string {
	return fmt.Sprintf("%d cores, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
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
	return all
}

func (b *Bench) run(ctx context.Context, p Plan, r *Report) error {
	now := Progress{Scenario: p.Scenario, Rounds: p.Rounds}
	tell := func(text string) { now.Text = text; b.cfg.Tell(now) }
	subjects, done, err := b.subjects(ctx, p, tell)
	defer done()
	if err != nil {
		return fmt.Errorf("prepare %s: %w", p.Scenario, err)
	}
	for round := 1; round <= p.Rounds; round++ {
		order := slices.Clone(subjects)
		if round%2 == 0 { // nobody always has the caches, or the rubbish, of the same one before it
			slices.Reverse(order)
		}
		measured := make(map[string]report.Measurement)
		for _, s := range order {
			now.Round, now.Subject = round, s.name()
			tell("waiting until all is at rest")
			rested := settle(ctx, b.server)
			tell("connecting")
			m, err := s.measure(ctx, p.For)
			if err != nil {
				return fmt.Errorf("round %d of %s, %s: %w", round, p.Scenario, s.name(), err)
			}
			if !rested {
				m.Notes = append(m.Notes, "the installation was still at work from before")
			}
			measured[s.name()] = m
		}
		for _, s := range subjects {
			r.Rounds = append(r.Rounds, report.Round{Number: round, Subject: s.name(), Measurement: measured[s.name()]})
		}
	}
	return nil
}

// subjects are go-chat, and what it is compared with. done is to be called in any case.
func (b *Bench) subjects(ctx context.Context, p Plan, tell func(string)) (all []subject, done func(), err error) {
	done = func() {}
	if p.Scenario == Drain && b.own == nil {
		return nil, done, errors.New("drain fills the outbox of an installation of its own, not of another server")
	}
	servers := []*server{b.server}
	if p.Baseline && p.Scenario != Drain && (p.Scenario != Ingest || b.own == nil) {
		if b.broadcast == nil {
			s, stop, err := broadcaster(ctx, b.cfg)
			if err != nil {
				return nil, done, err
			}
			b.broadcast = s
			b.closers = append(b.closers, stop)
		}
		servers = append(servers, b.broadcast)
	}
	for _, s := range servers {
		switch p.Scenario {
		case Fanout, Ingest, Latency:
			all = append(all, &traffic{server: s, Sizes: p.Sizes, drainWithin: b.cfg.DrainWithin, tell: tell})
		case Idle:
			all = append(all, &idle{server: s, Sizes: p.Sizes, tell: tell})
		case Join:
			all = append(all, &joining{server: s, own: b.own, Sizes: p.Sizes, tell: tell})
		case Drain:
			all = append(all, &drain{own: b.own, Sizes: p.Sizes, tell: tell})
		default:
			return nil, done, fmt.Errorf("no scenario %q; there are %s", p.Scenario, strings.Join(Scenarios(), ", "))
		}
	}
	if p.Baseline && b.own != nil && (p.Scenario == Ingest || p.Scenario == Drain || p.Scenario == Latency) {
		bare, closeBare, err := b.own.bare(ctx, p)
		if err != nil {
			return nil, done, err
		}
		all, done = append(all, bare...), closeBare
	}
	return all, done, nil
}

// newRun names a round, so that its rooms, senders and ids are its own.
func newRun() string {
	var b [runDigits / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
