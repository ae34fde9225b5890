package sim

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// processEnv is set in a process that runs one test for another process.
const processEnv = "GOCHAT_SIM_PROCESS"

// crashes is how often a process may end by a crash of Go's race detector, and gets another try.
const crashes = 5

// process runs a test of this package in a process of its own, with more flags and environment.
//
// Go's race detector itself crashes now and then under testing/synctest: https://github.com/golang/go/issues/78156, seen
// with Go 1.26 as a failed check, and as a segmentation violation in its depot of stacks, once in some ten runs of these
// simulations. Such a run says nothing, and is made again.
func process(t *testing.T, test string, flags, env []string) (out []byte, err error) {
	t.Helper()
	for range crashes {
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^" + strings.ReplaceAll(test, "/", "$/^") + "$"}, flags...)...)
		cmd.Env = append(append(os.Environ(), processEnv+"=1"), env...)
		if out, err = cmd.CombinedOutput(); err == nil || !crashed(out) {
			return out, err
		}
		t.Logf("%s: the race detector crashed; trying again", test)
	}
	return out, err
}

// crashed tells a crash of the race detector from all that a Go program can do by itself: its panics, a nil pointer's too,
// are told in other words.
func crashed(out []byte) bool {
	return bytes.Contains(out, []byte("ThreadSanitizer: CHECK failed")) ||
		bytes.HasPrefix(out, []byte("SIGSEGV: segmentation violation\nPC=")) ||
		bytes.Contains(out, []byte("\nSIGSEGV: segmentation violation\nPC="))
}

// rapidFlags are those that this process was given, for another one.
func rapidFlags() (flags []string) {
	flag.Visit(func(f *flag.Flag) {
		if strings.HasPrefix(f.Name, "rapid.") {
			flags = append(flags, "-"+f.Name+"="+f.Value.String())
		}
	})
	return flags
}
