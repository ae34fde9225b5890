//go:build !unix

package main

import (
	"context"
	"errors"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

func benchCommand() command {
	return command{
		name: "bench", summary: "measures a chat room under load, beside what it is compared with; on Unix only",
		setup: func(*config.Set) runFunc {
			return func(context.Context, stdio, []string) error {
				return errors.New("bench reads from sockets as only Unix can; run it on Linux or macOS")
			}
		},
	}
}
