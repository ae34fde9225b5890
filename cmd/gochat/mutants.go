//go:build unix && mutants

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/mutant"
	"github.com/rafaeldepontes/go-chat/internal/torture"
)

// mutantRest is how long a mutant's run may take to come to rest: most never do.
const mutantRest = 30 * time.Second

func mutantsCommand() []command {
	return []command{{
		name: "mutants", args: "[NAME…]", summary: "runs the torture on known bugs, and fails where one is not found",
		setup: func(s *config.Set) runFunc {
			seed := s.Int64("seed", 1, "of the runs", config.FlagOnly(), config.Check(config.AtLeast(1)))
			return func(ctx context.Context, std stdio, args []string) error {
				chosen := torture.Mutants()
				if len(args) > 0 {
					chosen = slices.DeleteFunc(chosen, func(m torture.Mutant) bool { return !slices.Contains(args, m.Name) })
					if len(chosen) != len(args) {
						return usagef("no such mutant among %q", args)
					}
				}
				return runMutants(ctx, chosen, uint64(*seed), std.out)
			}
		},
	}}
}

func runMutants(ctx context.Context, chosen []torture.Mutant, seed uint64, out io.Writer) error {
	var missed []string
	for _, m := range append(chosen, torture.Mutant{Name: "none", What: "the true program", For: 20 * time.Second}) {
		truth := m.Name == "none"
		cfg := torture.Config{Mode: torture.Split, Seed: seed, For: m.For, Faults: m.Faults, Rest: mutantRest}
		tell := io.Discard // what a mutant leaves behind is of no use
		if truth {
			cfg.Rest, tell = 0, out
		} else {
			cfg.Env = []string{mutant.Variable + "=" + m.Name}
		}
		began := time.Now()
		r, err := tortureOnce(ctx, cfg, tell)
		if err != nil {
			return fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		ok, first := m.Found(r.Verdict), ""
		if truth {
			ok = r.Verdict.OK()
		}
		if len(r.Verdict.Violations) > 0 {
			first = r.Verdict.Violations[0].Kind + ": " + r.Verdict.Violations[0].Text
		}
		mark := map[bool]string{true: "✓", false: "✗"}[ok]
		fmt.Fprintf(out, "%s %-24s %3.0f s  %s\n", mark, m.Name, time.Since(began).Seconds(), r.Verdict)
		if first != "" {
			fmt.Fprintf(out, "    %s\n", first)
		}
		if !ok {
			missed = append(missed, m.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("not as it must be: %s", strings.Join(missed, ", "))
	}
	return nil
}
