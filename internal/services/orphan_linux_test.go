package services_test

import (
	"os"
	"os/exec"
	"testing"
)

// Only Linux can end a server when its starter is killed.
func TestNothingOutlivesItsStarter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), orphanEnv+"="+dir)
	out, err := child.StdoutPipe()
	must(t, "pipe", err)
	must(t, "start", child.Start())
	line := make([]byte, 512)
	n, _ := out.Read(line)
	if got, want := string(line[:n]), "up\n"; got != want {
		t.Fatalf("child says %q, want %q", got, want)
	}
	if len(processesWith(t, dir)) == 0 {
		t.Fatal("no server runs below the child")
	}
	must(t, "kill", child.Process.Kill())
	_ = child.Wait()
	eventually(t, func() bool { return len(processesWith(t, dir)) == 0 })
}
