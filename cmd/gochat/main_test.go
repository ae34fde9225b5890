package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes the test binary play another part: a process of its own, for what only a process shows.
const childVariable = "GOCHAT_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "main":
		os.Args[0] = "gochat"
		main()
	case "signals":
		ctx, stop := untilSignal(context.Background())
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("stopping")
		_, _ = os.Stdin.Read(make([]byte, 1)) // hangs: its parent writes nothing
	}
}

// child prepares the test binary as another process.
func child(t *testing.T, part string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childVariable+"="+part)
	cmd.Dir = t.TempDir()
	return cmd
}

func TestTheProcessEndsWithItsExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"chatrom"}, 2, "gochat: no command \"chatrom\"; did you mean chatroom?\n"},
		{[]string{"chatroom", "--listen", "x", "--send-burst", "0"}, 2,
			"gochat: --listen (flag): \"x\" is not an address like 127.0.0.1:8080 or :8080\n" +
				"gochat: --send-burst (flag): 0 is too small: at least 1\n"},
		{[]string{"migrate", "status", "--data", "missing"}, 1, "gochat: --data: missing is not a folder\n"},
	} {
		cmd := child(t, "main", tt.args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != tt.code || stderr.String() != tt.stderr {
			t.Errorf("%q: got code %d and %q, want %d and %q", tt.args, got, stderr.String(), tt.code, tt.stderr)
		}
	}
}

func TestTheFirstSignalAsksAndTheSecondEnds(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := child(t, "signals")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for _, want := range []string{"ready", "stopping"} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("got line %q, %v, want %q", lines.Text(), lines.Err(), want)
			}
			if want == "ready" {
				mustSignal(t, cmd, signal)
			}
		}
		// The signal takes its ordinary effect again a moment after the first one cancelled the context.
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		err = signalUntilEnded(cmd, signal, ended)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != signal {
			t.Errorf("%s: got %v, want an end by the signal", signal, err)
		}
		_ = stdin.Close()
	}
}

// signalUntilEnded sends a signal again and again, as a person at a keyboard would: the race detector's runtime does not
// survive thousands of them while a handler is taken off.
func signalUntilEnded(cmd *exec.Cmd, signal syscall.Signal, ended <-chan error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			_ = cmd.Process.Signal(signal) // an error means that it has ended
		}
	}
}

func mustSignal(tb testing.TB, cmd *exec.Cmd, signal syscall.Signal) {
	tb.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		tb.Fatal(err)
	}
}

// call runs the program in this process with the given variables and an empty input.
func call(t *testing.T, vars map[string]string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	getenv := func(name string) string { return vars[name] }
	err = run(t.Context(), args, getenv, strings.NewReader(""), &out, &errOut)
	return out.String(), errOut.String(), err
}
