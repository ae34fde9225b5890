//go:build unix

package services

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Detached is a program that outlives its starter, in a form that can be written to a file.
type Detached struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Mark   string `json:"mark"`   // stands in its command line: a process id may be given again after a restart
	Signal int    `json:"signal"` // ends it cleanly
}

// Detached lists the running programs of a server that was started with Options.Detach, in the order to stop them.
func (s *Server) Detached() []Detached {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Detached
	for _, p := range slices.Backward(s.running) {
		list = append(list, Detached{p.prog.name, p.cmd.Process.Pid, p.prog.mark, int(p.prog.stop)})
	}
	return list
}

// Stop ends the program cleanly and waits until it has gone. A program that has gone already is no error.
func (d Detached) Stop(ctx context.Context) error {
	if !alive(d.PID) || !strings.Contains(commandLine(d.PID), d.Mark) {
		return nil
	}
	if err := syscall.Kill(d.PID, syscall.Signal(d.Signal)); err != nil {
		return fmt.Errorf("stop %s, process %d: %w", d.Name, d.PID, err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for alive(d.PID) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stop %s, process %d: %w", d.Name, d.PID, ctx.Err())
		}
	}
	return nil
}
