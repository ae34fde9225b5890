//go:build unix

package services_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// A program of the caller's own starts again with another environment, and tells how it ended.
func TestOwnProgramLifeCycle(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	must(t, "look for a shell", err)
	dir := t.TempDir()
	file := filepath.Join(dir, "said")
	p := &services.Program{
		Name: "script", Path: shell, Dir: dir, Log: filepath.Join(dir, "log"), Env: []string{"WORD=one"},
		Args: []string{"-c", `trap 'exit 7' TERM; echo "$WORD" > said; while [ ! -e end ]; do sleep 0.01; done; exit 3`},
		Probe: func(context.Context) error {
			b, err := os.ReadFile(file)
			if err == nil && len(b) == 0 {
				err = errors.New("nothing said yet")
			}
			return err
		},
	}
	srv := services.NewProgram(p)
	t.Cleanup(func() { must(t, "kill at the end", srv.Kill()) })
	if srv.Ended() != nil {
		t.Error("a program that never ran has an end")
	}
	must(t, "start", srv.Start(t.Context()))
	must(t, "stop", srv.Stop(t.Context()))
	if got, want := srv.ExitCode(), 7; got != want {
		t.Errorf("exit code after a stop: got %d, want %d", got, want)
	}

	must(t, "remove", os.Remove(file))
	p.Env = []string{"WORD=two"}
	must(t, "start again", srv.Start(t.Context()))
	if got, err := os.ReadFile(file); err != nil || string(got) != "two\n" {
		t.Errorf("with another environment: got %q, %v", got, err)
	}
	must(t, "let it end", os.WriteFile(filepath.Join(dir, "end"), nil, 0o600))
	select {
	case <-srv.Ended():
	case <-time.After(time.Minute):
		t.Fatal("its end was not told")
	}
	must(t, "clear away", srv.Kill())
	if got, want := srv.ExitCode(), 3; got != want {
		t.Errorf("exit code after an end by itself: got %d, want %d", got, want)
	}
}

func TestReservedPortIsFree(t *testing.T) {
	t.Parallel()
	port, release, err := services.ReservePort()
	must(t, "reserve", err)
	defer release()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	must(t, "listen", err)
	_ = l.Close()
}
