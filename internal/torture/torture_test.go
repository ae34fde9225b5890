//go:build unix

package torture_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/torture"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustBuild builds the program.
func mustBuild(t *testing.T, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gochat")
	build := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", path}, flags...),
		"github.com/rafaeldepontes/go-chat/cmd/gochat")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

func mustRun(t *testing.T, cfg torture.Config) torture.Report {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "run")
	began := time.Now()
	r, err := torture.Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	t.Logf("%s mode, seed %d, %d faults, %.0f s: %s; linearizable: %s", cfg.Mode, cfg.Seed, len(r.Faults), time.Since(began).Seconds(),
		r.Verdict, r.Verdict.Linearizable)
	return r
}

// Every promise at once, with the race detector: 60 s of faults split, 30 s embedded. Seeds are those of the day, so that
// each run looks elsewhere; a failure names its own.
func TestTorture(t *testing.T) {
	program := mustBuild(t, "-race")
	seed := uint64(time.Now().Unix())
	for _, cfg := range []torture.Config{
		{Mode: torture.Split, For: time.Minute},
		{Mode: torture.Embedded, For: 30 * time.Second},
	} {
		t.Run(cfg.Mode, func(t *testing.T) {
			cfg.Program, cfg.Seed = program, seed
			// The race detector makes everything some five times as slow.
			cfg.Rate, cfg.Rest = 20, 3*time.Minute
			r := mustRun(t, cfg)
			for _, v := range r.Verdict.Violations {
				t.Errorf("%s: %s", v.Kind, v.Text)
			}
			if !r.Verdict.OK() {
				t.Errorf("%s; to see it again: gochat torture --%s --seed %d --for %s --rate %v", r.Verdict, cfg.Mode, cfg.Seed, cfg.For, cfg.Rate)
			}
			if r.Verdict.Accepted == 0 || len(r.Faults) == 0 {
				t.Errorf("%d messages, %d faults: nothing was proved", r.Verdict.Accepted, len(r.Faults))
			}
		})
	}
}

// A torture that cannot fail proves nothing: three bugs of different kinds are found. `task mutants` runs all.
func TestMutantsAreFound(t *testing.T) {
	program := mustBuild(t, "-tags", "mutants")
	for _, m := range torture.Mutants() {
		if !slices.Contains([]string{"forget-published", "no-idempotency-key", "fetch-before-subscribe"}, m.Name) {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			r := mustRun(t, torture.Config{
				Program: program, Mode: torture.Split, Seed: 1, For: m.For, Faults: m.Faults, Rest: 30 * time.Second,
				Env: []string{"GOCHAT_MUTANT=" + m.Name},
			})
			if !m.Found(r.Verdict) {
				t.Errorf("%s was not found: %s", m.What, r.Verdict)
			}
		})
	}
}

// A seed says the same plan again, another seed another one; every kind of fault is dealt within some minutes.
func TestPlan(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{torture.Split, torture.Embedded} {
		a, b, other := mustPlan(t, mode, 7), mustPlan(t, mode, 7), mustPlan(t, mode, 8)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s: one seed, two plans:\n%s", mode, diff)
		}
		if cmp.Equal(a, other) {
			t.Errorf("%s: two seeds, one plan", mode)
		}
		dealt := make(map[string]bool)
		for _, s := range a {
			dealt[s.Kind] = true
		}
		for _, k := range torture.KindNames(mode) {
			if !dealt[k] {
				t.Errorf("%s: %q is never dealt", mode, k)
			}
		}
	}
	for _, only := range [][]string{{"sunshine"}, {"kill:moon"}, {"none", "kill"}} {
		if _, err := torture.Plan(torture.Split, 1, time.Minute, only); err == nil {
			t.Errorf("faults %q: no error", only)
		}
	}
	some, err := torture.Plan(torture.Split, 1, time.Minute, []string{"kill:persister-1", "stop"})
	if err != nil || len(some) == 0 {
		t.Fatalf("got %d faults, %v", len(some), err)
	}
	for _, s := range some {
		if s.Kind != "stop" && (s.Kind != "kill" || s.Target != "persister-1") {
			t.Errorf("%s of %s was not asked for", s.Kind, s.Target)
		}
	}
	if none, err := torture.Plan(torture.Split, 1, time.Minute, []string{"none"}); err != nil || len(none) != 0 {
		t.Errorf("none: got %d faults, %v", len(none), err)
	}
}

func mustPlan(t *testing.T, mode string, seed uint64) []torture.Step {
	t.Helper()
	steps, err := torture.Plan(mode, seed, 5*time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	busy := make(map[string]time.Duration)
	for _, s := range steps {
		if s.At < busy[s.Target] {
			t.Errorf("%s of %s at %s, while another fault lasts", s.Kind, s.Target, s.At)
		}
		busy[s.Target] = s.At + s.Lasts
	}
	return steps
}

// A process that gives up by itself would be started again by its supervisor, and nobody would hear of it.
func TestPartThatEndsByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "gochat")
	ended, again := filepath.Join(dir, "ended"), filepath.Join(dir, "again") // there from the second start on
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s ]; then touch %[2]s; fi\nsleep 0.2\ntouch %[1]s\nexit 3\n", ended, again)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(again); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	wrong, err := torture.Supervise(ctx, dir, program)
	if want := "part ended by itself with exit code 3"; err != nil || len(wrong) == 0 || wrong[0] != want {
		t.Errorf("got %q, %v; want %q", wrong, err, want)
	}
}

// Without a broker the dead letters are in the persister's file; they count like those of a broker.
func TestDeadLettersOfAFolderCount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, service := range []migrations.Service{migrations.Chatroom, migrations.Persister} {
		file, err := db.OpenSQLite(t.Context(), filepath.Join(dir, string(service)+".db"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := migrations.SQLite(file.Writer, service)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if service == migrations.Persister {
			letter := events.DeadLetter{Key: "k", ID: "room-1/7", Reason: "a test's"}
			if err := persister.NewDeadLetters(file.Writer, file.Reader).Put(t.Context(), []events.DeadLetter{letter}); err != nil {
				t.Fatal(err)
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := torture.DeadLetters(t.Context(), dir)
	if diff := cmp.Diff([]string{"room-1/7"}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
}

// A program that cannot be run at all is an error of the run, and no verdict.
func TestProgramThatDoesNotRun(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "gochat")
	if err := os.WriteFile(program, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := torture.Run(t.Context(), torture.Config{
		Program: program, Mode: torture.Embedded, For: time.Second, Dir: filepath.Join(t.TempDir(), "run"),
	})
	if err == nil || r.Outcome != "aborted" || r.Error == "" {
		t.Errorf("got %q, %q, %v; want an aborted run", r.Outcome, r.Error, err)
	}
	fmt.Fprintln(t.Output(), r.Error)
}
