//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/bench/baseline"
	benchreport "github.com/rafaeldepontes/go-chat/internal/bench/report"
)

// benchTarget is a server without a limit for senders.
func benchTarget(t *testing.T) string {
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
	return "ws://" + lis.Addr().String()
}

func TestBenchMeasuresAServer(t *testing.T) {
	t.Parallel()
	picture := filepath.Join(t.TempDir(), "run.png")
	stdout, _, err := call(t, nil, "bench", "join", "--server", benchTarget(t), "--subscribers", "20", "--rounds", "2", "--for", "50ms", "--plot", picture)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"join 1/2 go-chat", "join 2/2 go-chat", "until all had joined", "subscribers 20", "until all had joined, ms\n  go-chat  "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	if !strings.ContainsAny(stdout, "█┃") || strings.Contains(stdout, "\x1b") {
		t.Errorf("no plain bars in:\n%s", stdout)
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
}

func TestBenchSpeaksJSON(t *testing.T) {
	t.Parallel()
	stdout, _, err := call(t, nil, "bench", "join", "--server", benchTarget(t), "--subscribers", "20", "--rounds", "1", "--for", "50ms", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var r benchreport.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	if !r.Valid || len(r.Rounds) != 1 || r.Rounds[0].Counts["joined"] != 20 || !strings.Contains(r.Command, "gochat bench join --rounds 1 --for 50ms --server ws://") {
		t.Errorf("got %+v", r)
	}
}

func TestWrongUsageOfBench(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "bench takes one word"},
		{[]string{"fan"}, `no scenario "fan"`},
		{[]string{"all", "--server", "ws://localhost:1"}, "leave --server out"},
		{[]string{"fanout", "--server", "ws://localhost:1", "--embedded"}, "not about --server"},
		{[]string{"fanout", "--plot", "x.gif"}, ".svg or .png"},
		{[]string{"fanout", "--pid", "1,x"}, "no process id"},
		{[]string{"sweep"}, "sweep needs --of: one of rooms, subscribers, table, text"},
		{[]string{"sweep", "--of", "moons"}, "moons"},
		{[]string{"sweep", "--of", "rooms", "--sizes", "10,x"}, "no size"},
	} {
		_, _, err := call(t, nil, append([]string{"bench"}, tt.args...)...)
		if exitCode(err) != 2 || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got code %d, %v; want %q", tt.args, exitCode(err), err, tt.want)
		}
	}
}

func TestBenchSweepsAServer(t *testing.T) {
	t.Parallel()
	picture := filepath.Join(t.TempDir(), "run.svg")
	stdout, _, err := call(t, nil, "bench", "sweep", "--of", "subscribers", "--sizes", "2,5", "--server", benchTarget(t), "--pid", strconv.Itoa(os.Getpid()),
		"--rounds", "1", "--for", "2s", "--window", "4", "--plot", picture)
	if err != nil && !errors.Is(err, errNotValid) { // server and generator are one process here
		t.Fatal(err)
	}
	for _, want := range []string{"sizes 2,5", "2 subscribers ÷ this", "CPU of the server for each delivery, µs\n  2 subscribers  "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	b, err := os.ReadFile(picture)
	if err != nil || !strings.Contains(string(b), "CPU of the server for each delivery") {
		t.Errorf("got %v: %.200s", err, b)
	}
}

func TestBaselineIsNotInTheOverview(t *testing.T) {
	t.Parallel()
	stdout, _, err := call(t, nil, "help")
	if err != nil || !strings.Contains(stdout, "\n  bench ") || strings.Contains(stdout, "baseline") {
		t.Errorf("got %v:\n%s", err, stdout)
	}
	if stdout, _, err = call(t, nil, "help", "baseline"); err != nil || !strings.Contains(stdout, "keeps nothing") {
		t.Errorf("got %v:\n%s", err, stdout)
	}
}
