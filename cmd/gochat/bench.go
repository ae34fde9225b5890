//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench"
	benchreport "github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/services"
)

// allScenarios is the word for the table of goals.
const allScenarios = "all"

// benchConfig is what bench was asked for.
type benchConfig struct {
	server  bench.Config
	plan    bench.Plan
	goals   *bench.Goals // of all; nil: one scenario
	json    bool
	picture string
}

func benchCommand() command {
	return command{
		name: "bench", args: "fanout|ingest|latency|idle|join|drain|all", summary: "measures a chat room under load, beside what it is compared with",
		setup: func(s *config.Set) runFunc {
			server := s.String("server", "", "the chat room to measure; without it an installation of its own", config.FlagOnly(), config.Value("URL"),
				config.Check(config.Optional(config.URL("ws", "wss", "http", "https"))))
			ca := declareCA(s)
			pids := s.String("pid", "", "processes of --server on this machine, comma separated: their CPU and memory are told", config.FlagOnly(),
				config.Value("LIST"), config.Check(checkPIDs))
			embedded := s.Bool("embedded", false, "the own installation is one gochat up, without PostgreSQL and RabbitMQ", config.FlagOnly())
			secure := s.Bool("tls", false, "the own installation speaks TLS", config.FlagOnly())
			baseline := s.Bool("baseline", false, "compare, in alternating rounds, with a plain broadcaster or with the bare database and broker", config.FlagOnly())
			rounds := s.Int("rounds", 5, "rounds of each", config.FlagOnly(), config.Check(config.Between(1, 1000)))
			length := s.Duration("for", 5*time.Second, "how long each measurement lasts", config.FlagOnly(), config.Check(config.PositiveDuration))
			sizes := declareBenchSizes(s)
			asJSON := s.Bool("json", false, "write the result as JSON and no progress", config.FlagOnly())
			picture := s.String("plot", "", "file for a picture of the result: .svg or .png", config.FlagOnly(), config.Value("FILE"), config.Check(config.Optional(checkPicture)))
			long := s.Bool("long", false, "with all: also the goals that take minutes each", config.FlagOnly())
			divide := s.Int("divide", 1, "with all: makes every size smaller by this, to see that it works", config.FlagOnly(), config.Check(config.AtLeast(1)))
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) != 1 {
					return usagef("bench takes one word: %s or %s", strings.Join(bench.Scenarios(), ", "), allScenarios)
				}
				if *server != "" && (*embedded || *secure) {
					return usagef("--embedded and --tls are about an installation of its own, not about --server")
				}
				cfg := benchConfig{json: *asJSON, picture: *picture}
				trust, err := ca()
				if err != nil {
					return err
				}
				if cfg.server, err = benchServer(*server, trust, *pids); err != nil {
					return err
				}
				cfg.server.Embedded, cfg.server.TLS = *embedded, *secure
				cfg.plan = bench.Plan{Scenario: args[0], For: *length, Rounds: *rounds, Baseline: *baseline, Sizes: sizes(args[0])}
				cfg.plan.Command = benchLine(cfg, *server)
				switch {
				case args[0] == allScenarios && *server != "":
					return usagef("all measures installations of its own: leave --server out")
				case args[0] == allScenarios:
					cfg.goals = &bench.Goals{For: *length, Rounds: *rounds, Long: *long, Divide: *divide, Embedded: *embedded}
				case !bench.Known(args[0]):
					return usagef("no scenario %q: there are %s, and %s", args[0], strings.Join(bench.Scenarios(), ", "), allScenarios)
				}
				return runBench(ctx, cfg, std.out)
			}
		},
	}
}

// declareBenchSizes declares the numbers of a scenario; 0 is its own default.
func declareBenchSizes(s *config.Set) func(scenario string) bench.Sizes {
	number := func(name, help string) *int {
		return s.Int(name, 0, help+"; 0: as fits the scenario", config.FlagOnly(), config.Check(config.AtLeast(0)))
	}
	rooms := number("rooms", "rooms at once")
	subscribers := number("subscribers", "connections in each room that only read; with idle and join all connections")
	senders := number("senders", "connections in each room that send")
	window := number("window", "messages that each sender has in flight where there is no rate")
	lag := number("lag", "messages that the slowest reader may be behind before senders wait, where there is no rate")
	text := number("text-bytes", "bytes of each text")
	rows := number("rows", "with drain: messages that wait in the outbox")
	events := number("events", "with join: events in the room, in an installation of its own")
	rate := s.Float("rate", 0, "messages a second of all senders together, by a fixed plan; 0: as fits the scenario", config.FlagOnly(),
		config.Check(config.NotNegative))
	return func(scenario string) bench.Sizes {
		sizes := bench.DefaultSizes(scenario)
		for _, f := range []struct{ given, size *int }{
			{rooms, &sizes.Rooms}, {subscribers, &sizes.Subscribers}, {senders, &sizes.Senders}, {window, &sizes.Window},
			{lag, &sizes.Lag}, {text, &sizes.TextBytes}, {rows, &sizes.Rows}, {events, &sizes.Events},
		} {
			if *f.given > 0 {
				*f.size = *f.given
			}
		}
		if *rate > 0 {
			sizes.Rate = *rate
		}
		return sizes
	}
}

// benchServer is the server's part of the configuration.
func benchServer(address string, trust *tls.Config, pids string) (bench.Config, error) {
	var c bench.Config
	c.Version, c.Trust = readBuild().Version, trust
	for _, text := range config.List(pids) {
		pid, _ := strconv.Atoi(text) // checked
		c.PIDs = append(c.PIDs, pid)
	}
	var err error
	if address != "" {
		c.Server, err = url.Parse(address)
	}
	return c, err
}

func checkPIDs(text string) error {
	for _, pid := range config.List(text) {
		if n, err := strconv.Atoi(pid); err != nil || n <= 0 {
			return fmt.Errorf("%q is no process id", pid)
		}
	}
	return nil
}

func checkPicture(path string) error {
	if ext := filepath.Ext(path); ext != ".svg" && ext != ".png" {
		return fmt.Errorf("want a file that ends in .svg or .png, not %q", path)
	}
	return nil
}

// runBench measures, and tells the result. The error is for what could not be measured, or is not valid.
func runBench(ctx context.Context, cfg benchConfig, out io.Writer) error {
	display := newBenchDisplay(out)
	if cfg.json {
		display = newBenchDisplay(io.Discard)
	}
	cfg.server.Tell = display.progress
	if cfg.server.Server == nil && !cfg.server.Embedded && runsSplit(cfg) {
		if err := services.Install(ctx, display.out, services.PostgreSQL, services.RabbitMQ); err != nil {
			return err
		}
	}
	var err error
	if cfg.server.Program, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if cfg.server.Dir, err = os.MkdirTemp("", "gochat-bench-"); err != nil {
		return fmt.Errorf("make a folder for the run: %w", err)
	}
	err = measure(ctx, cfg, display, out)
	if ctx.Err() != nil {
		err = context.Canceled
	}
	if err != nil && !errors.Is(err, errNotValid) && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(display.out, "data and logs: %s\n", cfg.server.Dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(cfg.server.Dir))
}

// errNotValid is for figures that say nothing about the server.
var errNotValid = errors.New("the result is not valid")

func runsSplit(cfg benchConfig) bool { return cfg.goals == nil || !cfg.goals.Embedded }

func measure(ctx context.Context, cfg benchConfig, display *benchDisplay, out io.Writer) error {
	if cfg.goals != nil {
		return measureGoals(ctx, cfg, display, out)
	}
	b, err := bench.Open(ctx, cfg.server)
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := b.Run(ctx, cfg.plan)
	display.end()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if cfg.json {
		err = errors.Join(err, benchreport.WriteJSON(out, r))
	} else {
		err = errors.Join(err, r.WriteTable(out))
	}
	if cfg.picture != "" && len(r.Rounds) > 0 {
		err = errors.Join(err, writeBenchPicture(cfg.picture, r))
	}
	if err == nil && !r.Valid {
		err = fmt.Errorf("%w: %s", errNotValid, r.Invalid[0])
	}
	return err
}

// measureGoals prints each scenario's table and then the table of goals. A goal that is missed is no error.
func measureGoals(ctx context.Context, cfg benchConfig, display *benchDisplay, out io.Writer) error {
	var reports []benchreport.Report
	goals, err := bench.RunGoals(ctx, cfg.server, *cfg.goals, func(r benchreport.Report) {
		display.end()
		reports = append(reports, r)
		if !cfg.json {
			_ = r.WriteTable(out) // nobody can do anything about a terminal that went away
		}
	})
	display.end()
	if cfg.json {
		return errors.Join(err, benchreport.WriteJSON(out, map[string]any{"goals": goals, "reports": reports}))
	}
	fmt.Fprintln(out)
	return errors.Join(err, benchreport.WriteGoals(out, goals))
}

func writeBenchPicture(path string, r benchreport.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	if err := errors.Join(r.WritePicture(f, strings.TrimPrefix(filepath.Ext(path), ".")), f.Close()); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// benchLine is the command line that repeats a run, with every size.
func benchLine(cfg benchConfig, server string) string {
	p := cfg.plan
	var flags []string
	line := fmt.Sprintf("gochat bench %s --rounds %d --for %s", p.Scenario, p.Rounds, p.For)
	for _, switched := range []struct {
		on   bool
		flag string
	}{{server != "", "--server " + serverName(server)}, {cfg.server.Embedded, "--embedded"}, {cfg.server.TLS, "--tls"}, {p.Baseline, "--baseline"}} {
		if switched.on {
			flags = append(flags, switched.flag)
		}
	}
	line = strings.Join(append([]string{line}, flags...), " ")
	for _, size := range []struct {
		flag  string
		value int
	}{{"rooms", p.Rooms}, {"subscribers", p.Subscribers}, {"senders", p.Senders}, {"window", p.Window}, {"lag", p.Lag}, {"text-bytes", p.TextBytes}, {"rows", p.Rows}, {"events", p.Events}} {
		if size.value > 0 {
			line += fmt.Sprintf(" --%s %d", size.flag, size.value)
		}
	}
	if p.Rate > 0 {
		line += " --rate " + strconv.FormatFloat(p.Rate, 'f', -1, 64)
	}
	return line
}
