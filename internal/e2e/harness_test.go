package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// program is the binary under test, built with the race detector unless it is measured.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gochat-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "gochat")
	flag.Parse()
	args := []string{"build", "-o", program}
	if flag.Lookup("test.bench").Value.String() == "" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/rafaeldepontes/go-chat/cmd/gochat")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is the program, running.
type process struct {
	tb   testing.TB
	name string
	args []string
	env  []string
	addr string // where it listens

	cmd    *exec.Cmd
	exited chan struct{} // closed after err was written
	err    error
	stderr syncBuffer
}

var listens = regexp.MustCompile(`listens on (?:\w+://)?(\S+?)/?(?:\s|$)`)

// start runs `gochat args…` and waits until it listens. It is ended with the test, and must then have been clean: no
// race, no panic.
func start(tb testing.TB, env []string, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, name: args[0], args: args, env: env}
	p.launch()
	tb.Cleanup(func() {
		if p.running() {
			p.kill()
		}
		out := p.stderr.String()
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if bytes.Contains([]byte(out), []byte(bad)) {
				tb.Errorf("%s: %s\n%s", p.name, bad, out)
				return
			}
		}
		if tb.Failed() {
			tb.Logf("%s said:\n%s", p.name, tail(out, 6000))
		}
	})
	return p
}

func (p *process) launch() {
	p.tb.Helper()
	cmd := exec.Command(program, p.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.tb.TempDir(), "GORACE=halt_on_error=0"}, p.env...)
	cmd.Dir = p.tb.TempDir() // no .env of the repository
	cmd.Stderr = &p.stderr
	if runtime.GOOS == "linux" {
		cmd.SysProcAttr = endWithParent()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	addr := make(chan string, 1)
	exited := p.exited
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			fmt.Fprintln(&p.stderr, "stdout:", sc.Text())
			if m := listens.FindStringSubmatch(sc.Text()); m != nil {
				select {
				case addr <- m[1]:
				default:
				}
			}
		}
		p.err = cmd.Wait()
		close(exited)
	}()
	select {
	case p.addr = <-addr:
	case <-exited:
		p.tb.Fatalf("%s ended before it listened: %v\n%s", p.name, p.err, p.stderr.String())
	case <-time.After(60 * time.Second):
		p.tb.Fatalf("%s does not listen:\n%s", p.name, p.stderr.String())
	}
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// terminate asks for an orderly stop and returns the exit code.
func (p *process) terminate() int {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		p.tb.Fatalf("%s did not stop:\n%s", p.name, p.stderr.String())
	}
	return exitCode(p.err)
}

// again starts it once more at the same address, as a supervisor would.
func (p *process) again() {
	p.tb.Helper()
	for i, a := range p.args {
		if a == "--listen" {
			p.args[i+1] = p.addr
		}
	}
	p.launch()
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// result is what a command printed.
type result struct {
	out, err string
	code     int
}

// gochat runs the program to its end.
func gochat(ctx context.Context, tb testing.TB, stdin io.Reader, env []string, args ...string) result {
	tb.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}, env...)
	cmd.Dir = tb.TempDir()
	cmd.Stdin = stdin
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	return result{out.String(), errOut.String(), exitCode(err)}
}

// eventually polls a condition of the world outside the test.
func eventually(tb testing.TB, within time.Duration, what string, ok func() error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s: %v", within, what, err)
		}
		<-tick.C
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// freeAddr is a loopback address that nobody listens on, and that nobody is given until the test ends.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	port, release, err := services.ReservePort()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
