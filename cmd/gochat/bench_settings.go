//go:build unix

package main

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rafaeldepontes/go-chat/internal/bench"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

// declareBenchPlan declares how a scenario is measured, and its numbers; 0 is its own default.
func declareBenchPlan(s *config.Set) func(scenario string) bench.Plan {
	rounds := s.Int("rounds", 0, "rounds of each; 0: as fits the scenario (5, with churn 1)", config.FlagOnly(), config.Check(config.Between(0, 1000)))
	length := s.Duration("for", 0, "how long each measurement lasts; 0: as fits the scenario (5s, with churn 1m)", config.FlagOnly(),
		config.Check(config.NotNegativeDuration))
	of := s.String("of", "", "with sweep: what changes: "+strings.Join(bench.Sweeps(), ", "), config.FlagOnly(), config.Value("WHAT"),
		config.Check(config.Optional(config.OneOf(bench.Sweeps()...))))
	at := s.String("sizes", "", "with sweep: its sizes, comma separated; none: as fits", config.FlagOnly(), config.Value("LIST"), config.Check(checkSizes))
	sizes := declareBenchSizes(s)
	return func(scenario string) bench.Plan {
		p := bench.Plan{Scenario: scenario, Sizes: sizes(scenario), Of: *of}
		p.For, p.Rounds = bench.DefaultLength(scenario)
		if *length > 0 {
			p.For = *length
		}
		if *rounds > 0 {
			p.Rounds = *rounds
		}
		for _, text := range config.List(*at) {
			n, _ := strconv.Atoi(text) // checked
			p.At = append(p.At, n)
		}
		return p
	}
}

// declareBenchSizes declares the numbers of a scenario; 0 is its own default.
func declareBenchSizes(s *config.Set) func(scenario string) bench.Sizes {
	number := func(name, help string) *int {
		return s.Int(name, 0, help+"; 0: as fits the scenario", config.FlagOnly(), config.Check(config.AtLeast(0)))
	}
	rooms := number("rooms", "rooms at once")
	subscribers := number("subscribers", "connections in each room that only read; with idle, join and churn all connections")
	senders := number("senders", "connections in each room that send")
	window := number("window", "messages that each sender has in flight where there is no rate; with churn messages of each connection")
	lag := number("lag", "messages that the slowest reader may be behind before senders wait, where there is no rate")
	text := number("text-bytes", "bytes of each text")
	rows := number("rows", "with drain and stages: messages that wait in the outbox")
	events := number("events", "with join: events in the room, in an installation of its own")
	rate := s.Float("rate", 0, "messages a second of all senders together, by a fixed plan; with churn connections a second; 0: as fits the scenario", config.FlagOnly(),
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

func checkPIDs(text string) error { return checkNumbers(text, "process id") }

func checkSizes(text string) error { return checkNumbers(text, "size") }

func checkNumbers(text, what string) error {
	for _, part := range config.List(text) {
		if n, err := strconv.Atoi(part); err != nil || n <= 0 {
			return fmt.Errorf("%q is no %s", part, what)
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
	if p.Of != "" {
		line += " --of " + p.Of
	}
	if len(p.At) > 0 {
		line += " --sizes " + strings.Trim(strings.ReplaceAll(fmt.Sprint(p.At), " ", ","), "[]")
	}
	if p.Rate > 0 {
		line += " --rate " + strconv.FormatFloat(p.Rate, 'f', -1, 64)
	}
	return line
}
