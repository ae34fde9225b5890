//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// program is one program of a server, as it is started.
type program struct {
	name   string
	path   string
	args   []string
	env    []string // the whole environment; nothing is inherited
	dir    string
	log    string         // file that its output is appended to
	stop   syscall.Signal // asks it to end cleanly
	orphan syscall.Signal // what the kernel sends it when we die (Linux)
	as     *owner
	probe  func(context.Context) error // nil when it answers
	detach bool                        // it outlives us
	mark   string                      // stands in its command line and in no other
}

// process is a program that runs. The goroutine that launch starts owns it, and ends with it.
type process struct {
	prog program
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
}

// launch starts the program on a thread of its own: the kernel's parent-death signal watches the thread that forked, and
// Go ends idle threads at will.
func launch(prog program) (*process, error) {
	log, err := os.OpenFile(prog.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", prog.name, err)
	}
	defer log.Close()
	cmd := exec.Command(prog.path, prog.args...)
	cmd.Env, cmd.Dir = prog.env, prog.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(prog)
	p := &process{prog: prog, cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", prog.name, err)
	}
	return p, nil
}

// await polls probe until it succeeds, the program ends or ctx does.
func (p *process) await(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(try)
		cancel()
		select {
		case <-p.done: // also when another server answered on its port
			return fmt.Errorf("%s ended before it answered; its log ends with:\n%s", p.prog.name, logTail(p.prog.log))
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w (last: %w); its log ends with:\n%s", p.prog.name, ctx.Err(), err, logTail(p.prog.log))
		}
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exitCode is -1 where a signal ended the program, or it never started. It may be asked when done is closed.
func (p *process) exitCode() int {
	if p.cmd.ProcessState == nil {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(sig syscall.Signal) {
	if !p.ended() {
		_ = p.cmd.Process.Signal(sig) // it may end meanwhile
	}
}

// signalTree signals the program and its descendants. A process group is not enough: PostgreSQL's backends lead groups
// of their own. The parent is stopped first, so that it starts no child that the list would miss.
func (p *process) signalTree(sig syscall.Signal) {
	if sig != syscall.SIGCONT {
		p.signal(syscall.SIGSTOP)
	}
	if p.ended() {
		return
	}
	for _, pid := range descendants(p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, sig)
	}
	p.signal(sig)
}

// kill ends the program and its descendants and waits until they are gone, so that neither port nor shared memory is in
// use by a leftover when the next one starts.
func (p *process) kill() error {
	p.signal(syscall.SIGSTOP)
	var children []int
	if !p.ended() {
		children = descendants(p.cmd.Process.Pid)
	}
	p.signalTree(syscall.SIGKILL)
	<-p.done
	deadline := time.Now().Add(stopWithin)
	for _, pid := range children {
		for alive(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("kill %s: process %d is still there", p.prog.name, pid)
			}
			time.Sleep(pollEvery)
		}
	}
	return nil
}

// logTail returns the last lines of a log, for an error.
func logTail(path string) string {
	const keep = 15
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-keep):], "\n")
}

// run runs a short program to its end as the given owner and returns its output in the error.
func run(ctx context.Context, prog program) error {
	cmd := exec.CommandContext(ctx, prog.path, prog.args...)
	cmd.Env, cmd.Dir = prog.env, prog.dir
	cmd.SysProcAttr = attributes(program{as: prog.as, orphan: syscall.SIGKILL})
	cmd.WaitDelay = time.Second
	// CommandContext forks on this goroutine: keep its thread until the program has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", prog.name, errors.Join(ctx.Err(), err), strings.TrimSpace(string(out)))
	}
	return nil
}
