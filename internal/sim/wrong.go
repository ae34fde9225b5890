package sim

import (
	"bytes"
	"os"
	"testing"
)

const wrongEnv = "GOCHAT_SIM_WRONG"

// Wrong tells whether a model shall be wrong in the way named, to prove that its simulation can fail.
func Wrong(how string) bool { return os.Getenv(wrongEnv) == how }

// wrongChecks is how many runs a wrong model gets at the most. The first that fails ends them, so that many cost nothing; with
// the few of an ordinary test a wrong model was right now and then.
const wrongChecks = "2000"

// MustCatch runs another test of this package in a process of its own, with a model that is wrong in the way named, and
// expects it to fail and to say so with want.
func MustCatch(t *testing.T, test, how, want string) {
	t.Helper()
	flags := []string{"-rapid.nofailfile", "-rapid.shrinktime=1s", "-rapid.checks=" + wrongChecks, "-test.timeout=5m"} // a model that makes the run hang says where
	out, err := process(t, test, flags, []string{wrongEnv + "=" + how})
	if err == nil {
		t.Errorf("%s with a model that is wrong in %q: passed, want it to fail", test, how)
	} else if !bytes.Contains(out, []byte(want)) {
		t.Errorf("%s with a model that is wrong in %q: got %v, want %q in\n%s", test, how, err, want, out)
	}
}
