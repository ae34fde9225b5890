//go:build unix

package services

import (
	"context"
	"os"
	"syscall"
)

// Program is a program of the caller's own that is run like a server: started again on the same address, killed, frozen.
// It runs as the user that we are. Env may be changed between two starts.
type Program struct {
	Name, Path string
	Args, Env  []string
	Dir        string                      // its working folder
	Log        string                      // file that its output is appended to
	Probe      func(context.Context) error // nil when it answers
}

// NewProgram returns a program that does not run yet. Its URL is empty, and Wipe removes nothing.
func NewProgram(p *Program) *Server { return &Server{engine: p, exitCode: -1} }

func (p *Program) kind() Kind { return Kind(p.Name) }

func (p *Program) url() string { return "" }

func (p *Program) prepare(context.Context) error { return nil }

func (p *Program) probe(ctx context.Context) error { return p.Probe(ctx) }

func (p *Program) wipe() error { return nil }

func (p *Program) programs() []program {
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.Dir}, p.Env...)
	return []program{{
		name: p.Name, path: p.Path, args: p.Args, env: env, dir: p.Dir, log: p.Log,
		stop: syscall.SIGTERM, orphan: syscall.SIGKILL, probe: p.Probe,
	}}
}

// Ended is closed when the server has ended by itself, or is stopped or killed. It is nil while the server is down.
func (s *Server) Ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return nil
	}
	return s.running[len(s.running)-1].done
}

// ExitCode is that of the server's last end; -1 where a signal ended it, or before the first end.
func (s *Server) ExitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exitCode
}

// PIDs are the process ids of the programs that the server was started with, without what they started themselves. None
// while it is down.
func (s *Server) PIDs() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pids []int
	for _, p := range s.running {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}
