// Package lifecycle runs the long-lived parts of a program and stops them in order.
//
// It promises: parts start in the order in which they were added, each after the one before said that it is ready; they
// stop in the reverse order, each after the one added later has ended; the first part that fails stops all and is the
// error of the whole; the stop is bounded, and the part that hangs is named.
//
// A [Group] owns one goroutine for each part. They have all ended when [Group.Run] returns, unless it returns a
// [*HangError]. What a part starts is its own to end.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DefaultStopTimeout bounds the whole stop of a group.
const DefaultStopTimeout = 10 * time.Second

// ErrEnded is the failure of a part that returned nil although nobody asked it to stop.
var ErrEnded = errors.New("ended without being asked to")

// HangError is a stop that did not end in time.
type HangError struct {
	Part    string // the part that was asked to stop and did not
	Timeout time.Duration
}

func (e *HangError) Error() string {
	return fmt.Sprintf("%s did not stop within %s", e.Part, e.Timeout)
}

// Options of a group. The zero value is usable.
type Options struct {
	// Logger gets each start and stop at debug level, and failures that are not the first. Default: none.
	Logger *slog.Logger
	// StopTimeout bounds the whole stop. Default: [DefaultStopTimeout].
	StopTimeout time.Duration
}

// Group is a list of parts. Add them from one goroutine, then call [Group.Run] once.
type Group struct {
	logger      *slog.Logger
	stopTimeout time.Duration
	parts       []*part
}

type part struct {
	// Immutable.
	name string
	run  func(ctx context.Context, ready func()) error

	// Written by the group before the part starts.
	cancel context.CancelFunc

	ready chan struct{} // closed once the part is ready
	done  chan struct{} // closed after err was written
	err   error
}

// New makes an empty group.
func New(opts Options) *Group {
	g := &Group{logger: opts.Logger, stopTimeout: opts.StopTimeout}
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	if g.stopTimeout <= 0 {
		g.stopTimeout = DefaultStopTimeout
	}
	return g
}

// Add appends a part that is ready at once. run blocks until its context is cancelled, and returns nil then.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.AddReady(name, func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	})
}

// AddReady appends a part that says when the next one may start. It may call ready more than once.
func (g *Group) AddReady(name string, run func(ctx context.Context, ready func()) error) {
	g.parts = append(g.parts, &part{name: name, run: run, ready: make(chan struct{}), done: make(chan struct{})})
}

// Run starts the parts, and blocks until ctx ends or one of them fails; then it stops them. It returns nil after an
// orderly stop, else the first failure with its part's name. A stop that hangs adds a [*HangError].
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan *part, len(g.parts))
	started, first := g.start(ctx, failed)
	if first == nil && started == len(g.parts) {
		select {
		case <-ctx.Done():
		case first = <-failed:
		}
	}
	// A part may fail in the same instant as ctx ends; its failure counts.
	if first == nil {
		select {
		case first = <-failed:
		default:
		}
	}
	return g.stop(started, first)
}

// start returns how many parts it started, and the one that failed meanwhile.
func (g *Group) start(ctx context.Context, failed chan<- *part) (started int, first *part) {
	// Parts keep the values of ctx but not its end: each is stopped in its turn.
	base := context.WithoutCancel(ctx)
	for i, p := range g.parts {
		if ctx.Err() != nil {
			return i, nil
		}
		g.logger.Debug("starting", "part", p.name)
		var partCtx context.Context
		partCtx, p.cancel = context.WithCancel(base)
		go p.main(partCtx, failed)
		select {
		case <-p.ready:
		case <-p.done:
			return i + 1, p
		case <-ctx.Done():
			return i + 1, nil
		}
	}
	return len(g.parts), nil
}

func (p *part) main(ctx context.Context, failed chan<- *part) {
	defer close(p.done)
	isReady := false
	p.err = p.run(ctx, func() {
		if !isReady {
			isReady = true
			close(p.ready)
		}
	})
	asked := ctx.Err() != nil
	switch {
	case asked && errors.Is(p.err, context.Canceled):
		p.err = nil
	case !asked && p.err == nil:
		p.err = ErrEnded
	}
	if p.err != nil && !asked {
		failed <- p
	}
}

// stop ends the started parts, last one first.
func (g *Group) stop(started int, first *part) error {
	timeout := time.NewTimer(g.stopTimeout)
	defer timeout.Stop()
	var result error
	if first != nil {
		<-first.done
		result = fmt.Errorf("%s: %w", first.name, first.err)
	}
	for i := started - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		select {
		case <-p.done:
		case <-timeout.C:
			for _, rest := range g.parts[:i] {
				rest.cancel() // nobody waits for them any more, but they may still end well
			}
			hang := &HangError{Part: p.name, Timeout: g.stopTimeout}
			if result != nil {
				return fmt.Errorf("%w; and %w", result, hang)
			}
			return hang
		}
		g.logger.Debug("stopped", "part", p.name)
		if p == first || p.err == nil {
			continue
		}
		if result == nil {
			result = fmt.Errorf("%s: %w", p.name, p.err)
		} else {
			g.logger.Warn("part failed while stopping", "part", p.name, "error", p.err)
		}
	}
	return result
}
