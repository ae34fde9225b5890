//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// errCommand marks the failure of the command itself, whose exit code is passed on.
var errCommand = errors.New("the command failed")

// runWith runs one command with private servers, always private ones: the result must not depend on what the machine
// happens to run. They end with it, and their data goes.
func runWith(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var opts services.Options
	if len(args) > 0 && args[0] == "--no-sync" {
		opts.NoSync, args = true, args[1:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errUsage
	}
	if err := services.Install(ctx, stderr, services.PostgreSQL, services.RabbitMQ); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gochat-services-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	fmt.Fprintln(stderr, "services: starting a private PostgreSQL and a private RabbitMQ")
	pair, err := startPair(ctx, dir, opts)
	defer func() { err = errors.Join(err, pair.kill()) }()
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "services: both answer after %.1f s\n", time.Since(began).Seconds())

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.Env = append(os.Environ(), "GOCHAT_TEST_DATABASE_URL="+pair.postgres.URL(), "GOCHAT_TEST_RABBITMQ_URL="+pair.rabbitmq.URL())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s: %w", errCommand, args[0], err)
	}
	return nil
}

type serverPair struct{ postgres, rabbitmq *services.Server }

// startPair starts both at once: RabbitMQ takes some seconds. On an error the pair holds the one that did start.
func startPair(ctx context.Context, dir string, opts services.Options) (serverPair, error) {
	var pair serverPair
	var errPostgres, errRabbit error
	var wg sync.WaitGroup
	wg.Go(func() { pair.postgres, errPostgres = services.StartPostgres(ctx, dir, opts) })
	wg.Go(func() { pair.rabbitmq, errRabbit = services.StartRabbitMQ(ctx, dir, opts) })
	wg.Wait()
	return pair, errors.Join(errPostgres, errRabbit)
}

// kill, not stop: nobody reads the data again.
func (p serverPair) kill() error {
	var errs []error
	for _, srv := range []*services.Server{p.postgres, p.rabbitmq} {
		if srv != nil {
			errs = append(errs, srv.Kill())
		}
	}
	return errors.Join(errs...)
}
