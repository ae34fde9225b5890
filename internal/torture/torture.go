//go:build unix

// Package torture runs an installation of go-chat through a plan of faults while clients write and read, and judges what
// is left by the promises (check).
//
// A run starts servers and processes of its own, in a folder of its own, on loopback; nothing else on the machine is
// touched. Our processes are started again whenever they end, as a supervisor would. Between any two parts stands a proxy
// (faultproxy) that can cut, hold and slow what passes. The plan comes from a seed. After its time the faults end, the
// installation has some time to come to rest, and then the clients' journals are compared with the history over gRPC and
// with the tables.
//
// Goroutines: [Run] owns all, and waits for them. The servers die with the process, however that ends (on Linux).
package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture/check"
	"github.com/rafaeldepontes/go-chat/internal/torture/report"
)

// Report is what a run leaves behind.
type Report = report.Report

// Fault is one fault in a run.
type Fault = report.Fault

// Config of a run. Program, Mode, For and Dir are required.
type Config struct {
	Program string        // the gochat program to torture
	Mode    string        // Split or Embedded
	Seed    uint64        // of plan and clients
	For     time.Duration // faults and writing; start and rest come on top
	Faults  []string      // kinds to deal; empty: all; "none": none
	Dir     string        // for data and logs
	Env     []string      // more environment for the processes
	Rest    time.Duration // to come to rest afterwards; 0: 90 s

	Writers, Rooms int     // 0: 6 and 3
	Rate           float64 // messages a second of each writer, at most; 0: 60

	Version string
	Command string         // runs it again
	Tell    func(Progress) // about once a second; may be nil
	Fault   func(Fault)    // at the beginning of each; may be nil
}

// Progress is what a display shows.
type Progress struct {
	report.Sample
	Phase    string   // start, torture, rest
	Accepted int64    // in all
	Active   []string // faults under way
}

func (c *Config) defaults() {
	if c.Rest == 0 {
		c.Rest = 90 * time.Second
	}
	if c.Writers == 0 {
		c.Writers = 6
	}
	if c.Rooms == 0 {
		c.Rooms = 3
	}
	if c.Rate == 0 {
		c.Rate = 60
	}
	if c.Tell == nil {
		c.Tell = func(Progress) {}
	}
	if c.Fault == nil {
		c.Fault = func(Fault) {}
	}
}

// Run tortures once. The error says that the run could not be carried out or judged; the report tells so too, and is
// complete in any case.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg.defaults()
	r := Report{
		Seed: cfg.Seed, Mode: cfg.Mode, Version: cfg.Version, Started: time.Now().UTC(), Command: cfg.Command, Outcome: report.Aborted,
		Parameters: map[string]string{
			"for": cfg.For.String(), "writers": fmt.Sprint(cfg.Writers), "rooms": fmt.Sprint(cfg.Rooms), "rate": fmt.Sprint(cfg.Rate),
		},
	}
	if len(cfg.Faults) > 0 {
		r.Parameters["faults"] = strings.Join(cfg.Faults, ",")
	}
	err := run(ctx, cfg, &r)
	r.DurationMS = time.Since(r.Started).Milliseconds()
	switch {
	case err != nil:
		r.Error = err.Error()
	case r.Verdict.OK():
		r.Outcome = report.Passed
	default:
		r.Outcome = report.Failed
	}
	return r, err
}

func run(ctx context.Context, cfg Config, r *Report) error {
	steps, err := plan(cfg.Mode, cfg.Seed, cfg.For, cfg.Faults)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return err
	}
	cfg.Tell(Progress{Phase: "start"})
	s := newStack(cfg)
	defer s.close()
	if err := s.start(ctx, cfg); err != nil {
		return fmt.Errorf("start the installation: %w", err)
	}
	j := newJournal()
	r.Started = j.began.UTC()
	rooms := make([]string, cfg.Rooms)
	for i := range rooms {
		rooms[i] = fmt.Sprintf("room-%d", i+1)
	}
	poison := &poison{stack: s, maybe: make(map[string]struct{}), good: make(map[string]struct{})}
	f := &faults{stack: s, poison: poison, began: j.began, told: cfg.Fault}
	crowd := newCrowd(cfg, s.doors, rooms, j)
	sampler := newSampler(j, cfg.Tell, f.active)
	defer crowd.end()
	defer func() { // also of a run that is aborted
		sampler.end()
		r.Faults, r.Samples = f.done, sampler.samples
	}()
	crowd.start(ctx)
	sampler.start("torture")

	err = f.run(ctx, steps)
	pause(ctx, time.Until(j.began.Add(cfg.For)))
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}

	sampler.phase("rest")
	resting, cancel := context.WithTimeout(ctx, cfg.Rest)
	defer cancel()
	if err := errors.Join(s.heal(resting), poison.plantSurely(resting)); err != nil {
		j.complain("it does not get well when the faults are over: %v", err)
	}
	crowd.finish(resting)
	if err := rest(resting, s, j, crowd, poison); err != nil {
		j.complain("it does not come to rest within %s: %v", cfg.Rest, err)
	}
	crowd.end()
	sampler.end()
	return judge(ctx, s, j, poison, rooms, cfg.Dir, r)
}

// rest waits until nothing is under way any more.
func rest(ctx context.Context, s *stack, j *journal, c *crowd, p *poison) error {
	for {
		err := moving(ctx, s, j, c, p)
		if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// moving tells what is still under way.
func moving(ctx context.Context, s *stack, j *journal, c *crowd, p *poison) error {
	if n := c.waiting(); n > 0 {
		return fmt.Errorf("%d sends have no answer", n)
	}
	if err := c.behind(j); err != nil {
		return err
	}
	if _, _, n := j.totals(); n > 0 {
		return fmt.Errorf("%d accepted messages are not told to be stored", n)
	}
	n, err := s.waiting(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d rows wait in the outbox", n)
	}
	if err != nil {
		return err
	}
	missing, err := p.missing(ctx)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d planted poison messages are not dead-lettered", len(missing))
	}
	return err
}

// judge collects what is left, stops the installation, and compares. The dead letters are read last: a stop must make none.
func judge(ctx context.Context, s *stack, j *journal, p *poison, rooms []string, dir string, r *Report) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	histories, err := s.histories(ctx, rooms)
	if err != nil {
		j.complain("the history does not answer at rest: %v", err)
	}
	for _, text := range s.stop(ctx) {
		j.complain("%s", text)
	}
	t, err := s.tables(ctx)
	if err != nil {
		return fmt.Errorf("read the tables: %w", err)
	}
	state := t.state(histories)
	found, planted, err := p.deadLetters(ctx)
	if err != nil {
		j.complain("the dead letters cannot be read at rest: %v", err)
	}
	state.DeadLetters, state.Planted = append(state.DeadLetters, found...), planted
	if n, _, _ := j.totals(); n == 0 {
		j.complain("nothing was accepted in the whole run, which proves nothing")
	}
	written, complaints := j.close()
	r.Verdict = check.Check(written, state)
	r.Verdict.Other += len(complaints)
	for _, text := range complaints[:min(len(complaints), check.MaxExplained)] {
		r.Verdict.Violations = append(r.Verdict.Violations, check.Violation{Kind: "conduct", Text: text})
	}
	if !r.Verdict.OK() {
		if err := keep(filepath.Join(dir, "journal.json"), map[string]any{"journal": written, "state": state}); err != nil {
			r.Error = err.Error() // the verdict stands without it
		}
	}
	return nil
}

// keep writes down what the clients wrote and what was left, for whoever looks for the cause.
func keep(path string, v any) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewEncoder(f).Encode(v), f.Close()); err != nil {
		return fmt.Errorf("keep the journals: %w", err)
	}
	return nil
}

// crowd is all clients of a run.
type crowd struct {
	writers []*writer
	readers []*reader

	writing, reading sync.WaitGroup
	stopWriting      context.CancelFunc // no new messages
	giveUp           context.CancelFunc // not even the old ones
	stopReading      context.CancelFunc
}

func newCrowd(cfg Config, doors, rooms []string, j *journal) *crowd {
	c := &crowd{}
	for n := range cfg.Writers {
		c.writers = append(c.writers, newWriter(n+1, doors, rooms, j, cfg.Rate, cfg.Seed))
	}
	habits := []habit{slow, fickle, fickle}
	for range rooms {
		habits = append(habits, steady)
	}
	for n, h := range habits {
		room := rooms[0]
		if h == steady {
			room = rooms[n%len(rooms)]
		}
		c.readers = append(c.readers, newReader(n+1, room, h, doors, j, cfg.Seed))
	}
	return c
}

func (c *crowd) start(ctx context.Context) {
	writing, stopWriting := context.WithCancel(ctx)
	hopeless, giveUp := context.WithCancel(ctx)
	reading, stopReading := context.WithCancel(ctx)
	c.stopWriting, c.giveUp, c.stopReading = stopWriting, giveUp, stopReading
	for _, w := range c.writers {
		c.writing.Go(func() { w.run(writing, hopeless) })
	}
	for _, r := range c.readers {
		c.reading.Go(func() { r.run(reading) })
	}
}

// finish lets the writers end what they began, and the readers come to the head.
func (c *crowd) finish(ctx context.Context) {
	c.stopWriting()
	for _, r := range c.readers {
		r.full.Store(true)
	}
	stop := context.AfterFunc(ctx, c.giveUp)
	c.writing.Wait()
	stop()
}

func (c *crowd) end() {
	if c.stopWriting == nil {
		return
	}
	c.stopWriting()
	c.giveUp()
	c.stopReading()
	c.writing.Wait()
	c.reading.Wait()
}

// waiting counts the sends without an answer.
func (c *crowd) waiting() (n int) {
	for _, w := range c.writers {
		n += w.waiting()
	}
	return n
}

// behind tells of a reader that is not at its room's head yet.
func (c *crowd) behind(j *journal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range c.readers {
		if last, head := r.last.Load(), j.heads[r.room]; last < head {
			return fmt.Errorf("%s is at %d of %d in %s", r.name, last, head, r.room)
		}
	}
	return nil
}
