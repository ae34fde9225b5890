//go:build unix

// Package services starts private PostgreSQL and RabbitMQ servers from installed binaries, each on a free loopback port
// with its data below a folder of the caller. Tests use it to kill, wipe and freeze a server that nobody else needs.
//
// Promise: unless Options.Detach asks for it, a server started here is no daemon. Stop and Kill leave no process behind,
// and on Linux the kernel ends the server when the process that started it dies, however it dies. Nothing of the
// machine's own servers is read or changed.
// As root a server runs as the distribution's user for it, or else as nobody, since both refuse to run as root or should.
//
// Each running program has one goroutine, which ends with the program. A Server that is stopped or killed owns none.
//
// Limits: Unix only; one loopback address, no passwords worth the name, no TLS. Not for production.
package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Kind names a server that this package can start.
type Kind string

// The kinds of servers.
const (
	PostgreSQL Kind = "PostgreSQL"
	RabbitMQ   Kind = "RabbitMQ"
)

// Limits on waiting, for callers whose context has no deadline.
const (
	startWithin = 2 * time.Minute // a cold RabbitMQ on a busy machine takes half a minute
	stopWithin  = 30 * time.Second
	pollEvery   = 20 * time.Millisecond
)

// Options change how a server is started. The zero value is what production has: everything is synced to disk.
type Options struct {
	// NoSync lets PostgreSQL answer before data is on disk. Faster, and safe against a killed process but not against a
	// power cut: for ordinary tests, never for a benchmark. RabbitMQ has no such setting and ignores it.
	NoSync bool
	// Port is the port to listen on; 0 picks a free one outside the kernel's range for outgoing connections.
	Port int
	// Settings are further server settings: names of postgresql.conf or of rabbitmq.conf.
	Settings map[string]string
	// Detach lets the server outlive the process that starts it. Detached then tells how to stop it.
	Detach bool
}

// engine is what differs between the kinds.
type engine interface {
	kind() Kind
	url() string
	prepare(ctx context.Context) error // makes the data folder when there is none
	programs() []program               // to be started in this order
	probe(ctx context.Context) error   // nil when the server answers a query
	wipe() error                       // removes the data folder
}

// Server is a private server. Its methods may be called from several goroutines; they take turns.
type Server struct {
	engine   engine
	reserved reservation // keeps the ports ours while the server is down

	mu       sync.Mutex // guards the fields below
	running  []*process // in start order; empty while the server is down
	exitCode int        // of the last end; see ExitCode
}

// URL is where clients connect, with user, password and database or virtual host. It never changes.
func (s *Server) URL() string { return s.engine.url() }

// Start starts a server that was stopped, killed or wiped, on the same port and data, and waits until it answers.
// The context bounds the waiting only: the server outlives it.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) > 0 {
		return fmt.Errorf("start %s: it is running", s.engine.kind())
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := s.start(ctx); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.engine.kind(), err), s.kill())
	}
	return nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.engine.prepare(ctx); err != nil {
		return err
	}
	for _, prog := range s.engine.programs() {
		proc, err := launch(prog)
		if err != nil {
			return err
		}
		s.running = append(s.running, proc)
		if err := proc.await(ctx, prog.probe); err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until the server answers a query. It is an error when the server has ended.
func (s *Server) Ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return fmt.Errorf("wait for %s: it is not running", s.engine.kind())
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return s.running[len(s.running)-1].await(ctx, s.engine.probe)
}

// Stop ends the server as its own tools would: clients are disconnected, data is flushed. After 30 seconds, or when ctx
// ends, it is killed and an error returned. Stopping a server that is down does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	last := s.running[len(s.running)-1]
	last.signalTree(syscall.SIGCONT)
	last.signal(last.prog.stop)
	var slow error
	select {
	case <-last.done:
	case <-ctx.Done():
		slow = fmt.Errorf("stop %s: %w; killed", s.engine.kind(), ctx.Err())
	}
	return errors.Join(slow, s.kill())
}

// Kill ends the server and all its processes at once, as a power cut of the process would. It returns when they are
// gone. Killing a server that is down does nothing.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

func (s *Server) kill() error {
	var errs []error
	for i, p := range slices.Backward(s.running) {
		errs = append(errs, p.kill())
		if i == len(s.running)-1 {
			s.exitCode = p.exitCode()
		}
	}
	s.running = nil
	return errors.Join(errs...)
}

// Wipe kills the server if it runs and removes its data. Start begins with an empty server.
func (s *Server) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.kill(), s.engine.wipe())
}

// Pause freezes all processes of the server: connections stay open, and nothing answers.
func (s *Server) Pause() error { return s.each(syscall.SIGSTOP) }

// Continue undoes Pause.
func (s *Server) Continue() error { return s.each(syscall.SIGCONT) }

func (s *Server) each(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return fmt.Errorf("signal %s: it is not running", s.engine.kind())
	}
	for _, p := range s.running {
		p.signalTree(sig)
	}
	return nil
}

// open makes the data folder's parent, starts the server and returns its handle.
func open(ctx context.Context, eng engine, ports reservation) (*Server, error) {
	s := &Server{engine: eng, reserved: ports, exitCode: -1}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Installed tells whether the kind's binaries are on this machine.
func Installed(kind Kind) bool {
	switch kind {
	case PostgreSQL:
		_, err := postgresBinary("postgres")
		return err == nil
	case RabbitMQ:
		_, err := rabbitmqScript()
		return err == nil
	}
	return false
}

func mkdir(dir string, as *owner) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return as.chown(dir)
}
