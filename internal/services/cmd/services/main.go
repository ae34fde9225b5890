//go:build unix

// Command services brings PostgreSQL and RabbitMQ up for development and for the tests.
//
//	services up                    servers for development, at DATABASE_URL and RABBITMQ_URL
//	services down                  stops what up started, and nothing else
//	services run [--no-sync] -- COMMAND…   private servers for one command
//
// Exit codes: 0 done, 1 failed, 2 wrong usage; run passes on the command's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const usage = `usage: services up | down | run [--no-sync] -- COMMAND…
  up    PostgreSQL and RabbitMQ for development, with the role, database, user and virtual host that
        DATABASE_URL and RABBITMQ_URL name: servers that listen there already, else by Docker Compose where
        an engine answers and compose.yml has that port, else installed ones, else (Debian, root) installs them
  down  stops what up started
  run   runs COMMAND with private servers at GOCHAT_TEST_DATABASE_URL and GOCHAT_TEST_RABBITMQ_URL;
        --no-sync: PostgreSQL does not wait for the disk (for tests, not for benchmarks)
`

var errUsage = errors.New("wrong usage")

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, getenv, stdout, stderr)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprint(stderr, usage)
		return 2
	case errors.As(err, &exit) && errors.Is(err, errCommand) && exit.ExitCode() > 0:
		return exit.ExitCode() // it has said why
	default:
		fmt.Fprintln(stderr, "services:", err)
		return 1
	}
}

func dispatch(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	switch name, rest := args[0], args[1:]; {
	case name == "run":
		return runWith(ctx, rest, stdout, stderr)
	case name == "up" && len(rest) == 0:
		targets, err := readTargets(getenv)
		if err != nil {
			return err
		}
		return up(ctx, stdout, targets, defaultPlaces())
	case name == "down" && len(rest) == 0:
		return down(ctx, stdout, defaultPlaces())
	default:
		return errUsage
	}
}
