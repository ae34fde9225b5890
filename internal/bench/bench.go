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
	OutboxFrom  time.Duration  // the outbox is looked at in a measurement at a rate that lasts so long; 0: 30 s
	Tell        func(Progress) // may be nil
}

// Progress is what a display shows.
type Progress struct {
	Scenario, Subject string
	Round, Rounds     int    // Round is 0 while it starts and warms up
	Text              string // what goes on
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
	own       *installation         // nil: somebody else's server
	broadcast *server               // nil until it is needed
	filled    map[int]*installation // beside own, by the rows in their tables; down while they are not measured
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
	if cfg.OutboxFrom == 0 {
		cfg.OutboxFrom = 30 * time.Second
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	b := &Bench{cfg: cfg, filled: make(map[int]*installation)}
	if cfg.Server != nil {
		pids := slices.Clone(cfg.PIDs)
		b.server = &server{
			name: Subject, dialer: &wire.Dialer{Server: cfg.Server, TLS: cfg.Trust, Protocol: frame.Protocol},
			front: func() []int { return pids }, back: func() []int { return nil },
			memory:  []watched{memoryOf(serverMemory, func() []int { return pids })},
			restart: func(context.Context) error { return nil },
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
		Parameters: p.parameters(), Headline: headline(p.Scenario), Axis: p.axis(), Invalid: []string{},
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

func (b *Bench) run(ctx context.Context, p Plan, r *Report) error {
	now := Progress{Scenario: p.Scenario, Rounds: p.Rounds}
	tell := func(text string) { // from any goroutine, while nothing else of now changes
		told := now
		told.Text = text
		b.cfg.Tell(told)
	}
	subjects, done, err := b.subjects(ctx, p, tell)
	defer done()
	if err != nil {
		return fmt.Errorf("prepare %s: %w", p.Scenario, err)
	}
	if b.own != nil {
		tell("clearing up after what ran before")
		if err := b.own.clearUp(ctx); err != nil {
			return fmt.Errorf("clear up before %s: %w", p.Scenario, err)
		}
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
			at := report.Round{Number: round, Subject: s.name(), Measurement: measured[s.name()]}
			if s, ok := s.(*sweeping); ok {
				at.Size = float64(s.size)
			}
			r.Rounds = append(r.Rounds, at)
		}
	}
	return nil
}

// subjects are go-chat, and what it is compared with. done is to be called in any case.
func (b *Bench) subjects(ctx context.Context, p Plan, tell func(string)) (all []subject, done func(), err error) {
	if p.Scenario == Sweep {
		return b.sweep(ctx, p, tell)
	}
	done = func() {}
	servers := []*server{b.server}
	if p.Baseline && p.broadcasts(b.own != nil) {
		s, err := b.broadcaster(ctx)
		if err != nil {
			return nil, done, err
		}
		servers = append(servers, s)
	}
	for _, s := range servers {
		switch p.Scenario {
		case Fanout, Ingest, Latency:
			all = append(all, &traffic{server: s, Sizes: p.Sizes, drainWithin: b.cfg.DrainWithin, outboxFrom: b.cfg.OutboxFrom, tell: tell})
		case Idle:
			all = append(all, &idle{server: s, Sizes: p.Sizes, tell: tell})
		case Join:
			all = append(all, &joining{server: s, own: b.own, Sizes: p.Sizes, tell: tell})
		case Churn:
			all = append(all, &churn{server: s, Sizes: p.Sizes, tell: tell})
		case Drain:
			if b.own == nil {
				return nil, done, errors.New("drain fills the outbox of an installation of its own, not of another server")
			}
			all = append(all, &drain{own: b.own, Sizes: p.Sizes, tell: tell})
		case Stages:
			if b.own == nil || b.own.broker == nil {
				return nil, done, errors.New("stages needs a split installation of its own: it stops and starts the persister")
			}
			all = append(all, &stages{own: b.own, title: Subject, Sizes: p.Sizes, tell: tell},
				&stages{own: b.own, title: OneByOne, batch: 1, Sizes: p.Sizes, tell: tell})
		default:
			return nil, done, fmt.Errorf("no scenario %q; there are %s", p.Scenario, strings.Join(Scenarios(), ", "))
		}
	}
	if p.Baseline && b.own != nil && slices.Contains([]string{Ingest, Drain, Stages, Latency}, p.Scenario) {
		bare, closeBare, err := b.own.bare(ctx, p)
		if err != nil {
			return nil, done, err
		}
		all, done = append(all, bare...), closeBare
	}
	return all, done, nil
}

// broadcaster is the baseline, started when it is needed first.
func (b *Bench) broadcaster(ctx context.Context) (*server, error) {
	if b.broadcast == nil {
		s, stop, err := broadcaster(ctx, b.cfg)
		if err != nil {
			return nil, err
		}
		b.broadcast = s
		b.closers = append(b.closers, stop)
	}
	return b.broadcast, nil
}

// newRun names a round, so that its rooms, senders and ids are its own.
func newRun() string {
	var b [runDigits / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
