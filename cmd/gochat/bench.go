//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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
	getenv  func(string) string
}

func benchCommand() command {
	return command{
		name: "bench", args: strings.Join(bench.Scenarios(), "|") + "|" + allScenarios, summary: "measures a chat room under load, beside what it is compared with",
		setup: func(s *config.Set) runFunc {
			server := s.String("server", "", "the chat room to measure; without it an installation of its own", config.FlagOnly(), config.Value("URL"),
				config.Check(config.Optional(config.URL("ws", "wss", "http", "https"))))
			ca := declareCA(s)
			pids := s.String("pid", "", "processes of --server on this machine, comma separated: their CPU and memory are told", config.FlagOnly(),
				config.Value("LIST"), config.Check(checkPIDs))
			embedded := s.Bool("embedded", false, "the own installation is one gochat up, without PostgreSQL and RabbitMQ", config.FlagOnly())
			secure := s.Bool("tls", false, "the own installation speaks TLS", config.FlagOnly())
			baseline := s.Bool("baseline", false, "compare, in alternating rounds, with a plain broadcaster or with the bare database and broker", config.FlagOnly())
			plan := declareBenchPlan(s)
			asJSON := s.Bool("json", false, "write the result as JSON and no progress", config.FlagOnly())
			picture := s.String("plot", "", "file for a picture of the result: .svg or .png; with all one for each scenario, whose number and name go before the ending", config.FlagOnly(), config.Value("FILE"), config.Check(config.Optional(checkPicture)))
			long := s.Bool("long", false, "with all: also the goals that take minutes each", config.FlagOnly())
			divide := s.Int("divide", 1, "with all: makes every size, time and number of rounds smaller by this, to see that it works", config.FlagOnly(), config.Check(config.AtLeast(1)))
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) != 1 {
					return usagef("bench takes one word: %s or %s", strings.Join(bench.Scenarios(), ", "), allScenarios)
				}
				if *server != "" && (*embedded || *secure) {
					return usagef("--embedded and --tls are about an installation of its own, not about --server")
				}
				cfg := benchConfig{json: *asJSON, picture: *picture, plan: plan(args[0]), getenv: std.getenv}
				trust, err := ca()
				if err != nil {
					return err
				}
				if cfg.server, err = benchServer(*server, trust, *pids); err != nil {
					return err
				}
				cfg.server.Embedded, cfg.server.TLS = *embedded, *secure
				cfg.plan.Baseline = *baseline
				cfg.plan.Command = benchLine(cfg, *server)
				switch {
				case args[0] == allScenarios && *server != "":
					return usagef("all measures installations of its own: leave --server out")
				case args[0] == allScenarios:
					cfg.goals = &bench.Goals{For: cfg.plan.For, Rounds: cfg.plan.Rounds, Long: *long, Divide: *divide, Embedded: *embedded}
				case args[0] == bench.Sweep && cfg.plan.Of == "":
					return usagef("sweep needs --of: one of %s", strings.Join(bench.Sweeps(), ", "))
				case !bench.Known(args[0]):
					return usagef("no scenario %q: there are %s, and %s", args[0], strings.Join(bench.Scenarios(), ", "), allScenarios)
				}
				return runBench(ctx, cfg, std.out)
			}
		},
	}
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
	err = errors.Join(err, tellReport(cfg, out, r, ""))
	if cfg.json {
		err = errors.Join(err, benchreport.WriteJSON(out, r))
	}
	if err == nil && !r.Valid {
		err = fmt.Errorf("%w: %s", errNotValid, r.Invalid[0])
	}
	return err
}

// tellReport shows a report as it was asked for, but for JSON. number goes into the name of its picture.
func tellReport(cfg benchConfig, out io.Writer, r benchreport.Report, number string) error {
	var err error
	if !cfg.json {
		colours, columns := terminal(out, cfg.getenv)
		err = errors.Join(r.WriteTable(out), r.WritePlot(out, columns, colours))
	}
	if cfg.picture != "" && len(r.Rounds) > 0 {
		path := cfg.picture
		if ext := filepath.Ext(path); number != "" {
			path = strings.TrimSuffix(path, ext) + "-" + number + "-" + r.Scenario + ext
		}
		err = errors.Join(err, writeBenchPicture(path, r))
	}
	return err
}

// measureGoals prints each scenario's table and then the table of goals. A goal that is missed is no error.
func measureGoals(ctx context.Context, cfg benchConfig, display *benchDisplay, out io.Writer) error {
	var reports []benchreport.Report
	var told error
	goals, err := bench.RunGoals(ctx, cfg.server, *cfg.goals, func(r benchreport.Report) {
		display.end()
		reports = append(reports, r)
		told = errors.Join(told, tellReport(cfg, out, r, fmt.Sprintf("%02d", len(reports))))
	})
	display.end()
	err = errors.Join(err, told)
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
