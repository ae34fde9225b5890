package torture

import (
	"slices"
	"time"
)

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
