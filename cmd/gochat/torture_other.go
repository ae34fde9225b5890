//go:build !unix

package main

import (
	"context"
	"errors"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func tortureCommand() command {
	return command{
		name: "torture", summary: "breaks an installation of its own in every way, and proves that nothing is lost; on Unix only",
		setup: func(*config.Set) runFunc {
			return func(context.Context, stdio, []string) error {
				return errors.New("torture kills and freezes processes as only Unix can; run it on Linux or macOS")
			}
		},
	}
}
