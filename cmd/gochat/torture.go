//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/internal/torture"
)

// tortureConfig is what torture was asked for.
type tortureConfig struct {
	run    torture.Config
	report string // file; empty: none
}

// Defaults of a run.
const (
	tortureWriters = 6
	tortureRooms   = 3
	tortureRate    = 60.0
)

func tortureCommand() command {
	return command{
		name: "torture", summary: "breaks an installation of its own in every way, and proves that nothing is lost",
		setup: func(s *config.Set) runFunc {
			during := s.Duration("for", time.Minute, "how long it is broken; start and rest come on top", config.FlagOnly(), config.Check(config.PositiveDuration))
			seed := s.Int64("seed", 0, "the run to repeat; 0: a new one", config.FlagOnly(), config.Check(config.AtLeast(0)))
			split := s.Bool("split", false, "two chat rooms and two persisters over a PostgreSQL and a RabbitMQ of their own; so it is without --embedded", config.FlagOnly())
			embedded := s.Bool("embedded", false, "one gochat up", config.FlagOnly())
			file := s.String("report", "", "where the report goes, as JSON, with a picture (SVG) beside it", config.FlagOnly(), config.Value("FILE"))
			faults := s.String("faults", "", "kinds of faults, comma separated, or KIND:TARGET for one target only; without it all; none: none", config.FlagOnly(), config.Value("LIST"))
			writers := s.Int("writers", tortureWriters, "clients that write", config.FlagOnly(), config.Check(config.Between(1, 1000)))
			rooms := s.Int("rooms", tortureRooms, "rooms that they write to", config.FlagOnly(), config.Check(config.Between(1, 100)))
			rate := s.Float("rate", tortureRate, "messages a second that each writes at most", config.FlagOnly(), config.Check(config.NotNegative))
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("torture takes no words: %q", args[0])
				}
				switch {
				case *split && *embedded:
					return usagef("--split or --embedded, not both")
				case *rate == 0:
					return usagef("--rate 0: who writes nothing proves nothing")
				}
				cfg := tortureConfig{report: *file, run: torture.Config{
					Mode: torture.Split, Seed: uint64(*seed), For: *during, Faults: config.List(*faults),
					Writers: *writers, Rooms: *rooms, Rate: *rate,
				}}
				if *embedded {
					cfg.run.Mode = torture.Embedded
				}
				if cfg.run.Seed == 0 {
					cfg.run.Seed = uint64(1 + rand.Uint32())
				}
				if err := torture.CheckFaults(cfg.run.Mode, cfg.run.Faults); err != nil {
					return usagef("--faults: %v", err)
				}
				cfg.run.Command = tortureCommandLine(cfg.run)
				return runTorture(ctx, cfg, std.out)
			}
		},
	}
}

// tortureCommandLine is what runs it again, for a shell.
func tortureCommandLine(cfg torture.Config) string {
	line := fmt.Sprintf("gochat torture --%s --seed %d --for %s", cfg.Mode, cfg.Seed, cfg.For)
	if cfg.Writers != tortureWriters {
		line += fmt.Sprintf(" --writers %d", cfg.Writers)
	}
	if cfg.Rooms != tortureRooms {
		line += fmt.Sprintf(" --rooms %d", cfg.Rooms)
	}
	if cfg.Rate != tortureRate {
		line += fmt.Sprintf(" --rate %v", cfg.Rate)
	}
	if len(cfg.Faults) > 0 {
		line += fmt.Sprintf(" --faults '%s'", strings.Join(cfg.Faults, ","))
	}
	return line
}

// runTorture runs once and tells the verdict; the error is for a run that did not pass.
func runTorture(ctx context.Context, cfg tortureConfig, out io.Writer) error {
	if cfg.run.Mode == torture.Split {
		if err := services.Install(ctx, out, services.PostgreSQL, services.RabbitMQ); err != nil {
			return err
		}
	}
	if cfg.report != "" { // an hour is long to learn then that the folder is missing
		if err := writeReport(cfg.report, torture.Report{}); err != nil {
			return err
		}
	}
	d := newTortureDisplay(out, cfg.run)
	cfg.run.Tell, cfg.run.Fault = d.progress, d.fault
	r, err := tortureOnce(ctx, cfg.run, out)
	d.end()
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Canceled
	case err != nil:
		err = fmt.Errorf("the run could not be judged: %w", err)
	default:
		d.verdict(r)
		if !r.Verdict.OK() {
			err = fmt.Errorf("a promise was broken; to see it again: %s", r.Command)
		}
	}
	if cfg.report != "" {
		err = errors.Join(err, writeReport(cfg.report, r))
	}
	return err
}

// tortureOnce runs this program in a folder of its own, which is removed unless something is to be seen there.
func tortureOnce(ctx context.Context, cfg torture.Config, out io.Writer) (torture.Report, error) {
	var r torture.Report
	var err error
	if cfg.Program, err = os.Executable(); err != nil {
		return r, fmt.Errorf("find this program: %w", err)
	}
	if cfg.Dir, err = os.MkdirTemp("", "gochat-torture-"); err != nil {
		return r, fmt.Errorf("make a folder for the run: %w", err)
	}
	cfg.Version = readBuild().Version
	r, err = torture.Run(ctx, cfg)
	if err == nil && r.Verdict.OK() || out == io.Discard {
		_ = os.RemoveAll(cfg.Dir) // what is left there harms nobody
		return r, err
	}
	fmt.Fprintf(out, "data and logs: %s\n", cfg.Dir)
	return r, err
}

// writeReport writes the JSON file and the picture beside it.
func writeReport(path string, r torture.Report) error {
	write := func(path string, f func(io.Writer) error) error {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		return errors.Join(f(file), file.Close())
	}
	picture := strings.TrimSuffix(path, filepath.Ext(path)) + ".svg"
	if err := errors.Join(write(path, r.WriteJSON), write(picture, func(w io.Writer) error { return r.WritePicture(w, "svg") })); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
