package main

import (
	"context"

	"github.com/rafaeldepontes/go-chat/internal/bench/baseline"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

// baselineCommand is what bench compares with, as a process of its own.
func baselineCommand() command {
	return command{
		name: "baseline", summary: "runs the plain broadcaster that bench compares with; it keeps nothing", hidden: true,
		setup: func(s *config.Set) runFunc {
			addr := s.String("listen", "127.0.0.1:0", "where it serves /ws", config.FlagOnly(), config.Value("ADDRESS"), config.Check(config.ListenAddress))
			return func(ctx context.Context, _ stdio, args []string) error {
				if len(args) > 0 {
					return usagef("baseline takes no words: %q", args[0])
				}
				lis, err := listenAddressOf(s, "listen", *addr).listen(ctx)
				if err != nil {
					return err
				}
				return new(baseline.Server).Run(ctx, lis)
			}
		},
	}
}
