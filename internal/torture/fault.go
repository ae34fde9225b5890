//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/faultproxy"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/internal/torture/report"
)

// faults carries out a plan. Each step runs in a goroutine of its own; run waits for all.
type faults struct {
	stack  *stack
	poison *poison
	began  time.Time
	told   func(report.Fault) // at the beginning of each

	busy map[string]*sync.Mutex // a thing has one fault at a time; not changed while steps run

	mu   sync.Mutex // guards the fields below
	done []report.Fault
	now  []string // under way, in the order of their beginning
}

// active tells what is broken now.
func (f *faults) active() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.now)
}

func (f *faults) note(s step, begins bool) {
	name := s.kind + " " + s.target
	f.mu.Lock()
	defer f.mu.Unlock()
	if begins {
		f.now = append(f.now, name)
	} else if i := slices.Index(f.now, name); i >= 0 {
		f.now = slices.Delete(f.now, i, i+1)
	}
}

// run returns when all steps are done and undone, or with the first that could not be.
func (f *faults) run(ctx context.Context, steps []step) error {
	f.busy = make(map[string]*sync.Mutex)
	for _, s := range steps {
		if f.busy[s.target] == nil {
			f.busy[s.target] = new(sync.Mutex)
		}
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(steps))
	for _, s := range steps {
		if !pause(ctx, time.Until(f.began.Add(s.at))) {
			break
		}
		wg.Go(func() {
			busy := f.busy[s.target]
			busy.Lock()
			defer busy.Unlock()
			if err := f.do(ctx, s); err != nil {
				errs <- fmt.Errorf("fault %s of %s: %w", s.kind, s.target, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// do meets the target with one fault, and undoes it after its time. An undo must not be cut short.
func (f *faults) do(ctx context.Context, s step) error {
	begin, undo, err := f.what(s)
	if err != nil {
		return err
	}
	r := report.Fault{AtMS: time.Since(f.began).Milliseconds(), Kind: s.kind, Target: s.target, Note: s.arg}
	f.told(r)
	f.note(s, true)
	defer f.note(s, false)
	sure, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	err = begin(sure)
	if undo != nil {
		pause(ctx, s.lasts)
		err = errors.Join(err, undo(sure))
		r.UntilMS = time.Since(f.began).Milliseconds()
	}
	f.mu.Lock()
	f.done = append(f.done, r)
	f.mu.Unlock()
	return err
}

type action = func(context.Context) error

// what tells how a fault is done and undone; undo is nil where it heals by itself.
func (f *faults) what(s step) (do, undo action, err error) {
	if p := f.stack.parts[s.target]; p != nil {
		return partFault(p, s)
	}
	if l := f.stack.links[s.target]; l != nil {
		return linkFault(l, s)
	}
	switch s.target {
	case postgresName:
		return serverFault(f.stack.postgres, s)
	case brokerName:
		switch s.kind {
		case "poison":
			// The broker may be down or full just now; then nothing is planted.
			return func(ctx context.Context) error { _ = f.poison.plant(ctx); return nil }, nil, nil
		case "delete queue":
			return func(ctx context.Context) error { return errors.Join(f.stack.deleteQueue(), f.poison.forget(ctx)) }, nil, nil
		}
		do, undo, err = serverFault(f.stack.broker, s)
		meet := do
		switch s.kind {
		case "kill server":
			do = func(ctx context.Context) error { return errors.Join(f.stack.settled(ctx), meet(ctx)) }
		case "wipe server":
			do = func(ctx context.Context) error {
				return errors.Join(f.poison.look(ctx), meet(ctx), f.poison.forget(ctx))
			}
		}
		return do, undo, err
	}
	return nil, nil, fmt.Errorf("there is no %s", s.target)
}

func partFault(p *part, s step) (do, undo action, err error) {
	plain := func(g func() error) action { return func(context.Context) error { return g() } }
	switch s.kind {
	case "kill":
		return plain(p.srv.Kill), nil, nil
	case "crash":
		return plain(func() error { return p.crash(s.arg) }), nil, nil
	case "stop":
		return p.stop, nil, nil
	case "pause":
		// It may be down just now, or go down while it rests: then there is nothing to freeze.
		return plain(func() error { _ = p.srv.Pause(); return nil }), plain(func() error { _ = p.srv.Continue(); return nil }), nil
	}
	return nil, nil, errUnknownFault
}

var errUnknownFault = errors.New("no such fault for this target")

func linkFault(l *faultproxy.Proxy, s step) (do, undo action, err error) {
	plain := func(g func()) action { return func(context.Context) error { g(); return nil } }
	order := map[string]faultproxy.Order{
		"half request": faultproxy.HalfRequest, "answer lost": faultproxy.LoseAnswer, "half answer": faultproxy.HalfAnswer,
	}
	if o, ok := order[s.kind]; ok {
		bytes, err := strconv.Atoi(s.arg)
		return plain(func() { l.Break(o, bytes) }), nil, err
	}
	switch s.kind {
	case "cut":
		return plain(l.Cut), nil, nil
	case "stall":
		return plain(l.Stall), plain(l.Resume), nil
	case "slow":
		return plain(func() { l.Delay(slowness) }), plain(l.Resume), nil
	case "refuse":
		return plain(func() { l.Refuse(true) }), plain(l.Resume), nil
	}
	return nil, nil, errUnknownFault
}

// slowness is how long a slow link holds each chunk.
const slowness = 50 * time.Millisecond

// serverFault meets a server.
func serverFault(srv *services.Server, s step) (do, undo action, err error) {
	plain := func(g func() error) action { return func(context.Context) error { return g() } }
	switch s.kind {
	case "pause":
		return plain(srv.Pause), plain(srv.Continue), nil
	case "stop server":
		return srv.Stop, srv.Start, nil
	case "kill server":
		return plain(srv.Kill), srv.Start, nil
	case "wipe server":
		return plain(srv.Wipe), srv.Start, nil
	case "full disk":
		// What a broker does on a full disk is to take no messages; it is told that the disk is full.
		return func(ctx context.Context) error { return srv.Control(ctx, "set_disk_free_limit", "900000GB") },
			func(ctx context.Context) error { return srv.Control(ctx, "set_disk_free_limit", "50MB") }, nil
	}
	return nil, nil, errUnknownFault
}
