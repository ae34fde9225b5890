//go:build unix

package torture

import (
	"context"
	"slices"
	"time"
)

// Supervise runs a program as a part until ctx ends, and returns what it did wrong.
func Supervise(ctx context.Context, dir, program string) ([]string, error) {
	p := newPart(dir, program, "part", "127.0.0.1:1", nil, nil)
	err := p.supervise(ctx)
	return p.judge(), err
}

// DeadLetters returns the ids of the dead letters that the checker is told of from a data folder.
func DeadLetters(ctx context.Context, data string) ([]string, error) {
	t, err := (&stack{mode: Embedded, data: data}).tables(ctx)
	return t.state(nil).DeadLetters, err
}

// Step is a step of a plan, as tests see it.
type Step struct {
	At, Lasts         time.Duration
	Kind, Target, Arg string
}

func Plan(mode string, seed uint64, during time.Duration, only []string) (out []Step, err error) {
	steps, err := plan(mode, seed, during, only)
	for _, s := range steps {
		out = append(out, Step{s.at, s.lasts, s.kind, s.target, s.arg})
	}
	return out, err
}

func KindNames(mode string) (names []string) {
	for _, k := range kinds(mode) {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
