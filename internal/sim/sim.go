// Package sim is what the simulations of this project stand on: state machines of rapid that run the real code of a
// service in virtual time (testing/synctest), over models of its databases and brokers. A fault is an action of the
// machine, so that hours of faults take seconds, and rapid shrinks a failure to the fewest actions that show it.
//
// The models lie with the interfaces that they implement (outboxtest, storetest, bustest). A [Link] stands between a
// process and its models and is where calls fail, hang and get lost. The simulation of the whole way of a message is in
// this package's tests.
package sim

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Bound is called by TestMain before the flags are read. It sets how many runs each property of the package gets and how
// many actions a run has on the average, unless RAPID_CHECKS and RAPID_STEPS, or the flags -rapid.checks and
// -rapid.steps, ask for more.
func Bound(checks, steps int) {
	for _, b := range []struct {
		name, env string
		value     int
	}{{"rapid.checks", "RAPID_CHECKS", checks}, {"rapid.steps", "RAPID_STEPS", steps}} {
		if os.Getenv(b.env) == "" {
			_ = flag.Set(b.name, strconv.Itoa(b.value)) // a number is right
		}
	}
}

// Check runs a property, each run in a bubble of its own: virtual time starts anew, and a run that leaves a goroutine
// fails. A failure tells the seed, and the actions that are left after shrinking. With the race detector the property is
// checked in a process of its own, which a crash of the detector does not end; see process.
func Check(t *testing.T, prop func(*rapid.T)) {
	t.Helper()
	if raceDetector && os.Getenv(processEnv) == "" {
		if out, err := process(t, t.Name(), rapidFlags(), nil); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	rapid.Check(t, func(rt *rapid.T) { rapid.SyncTest(rt, prop) })
}

// Pass lets virtual time pass, and then everybody do what there is to do.
func Pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// Often makes the actions named n times as frequent as the others of a machine.
func Often(n int, actions map[string]func(*rapid.T), names ...string) map[string]func(*rapid.T) {
	for _, name := range names {
		for i := 2; i <= n; i++ {
			actions[fmt.Sprint(name, " ", i)] = actions[name]
		}
	}
	return actions
}

// Durations are from an instant to some hours; most are short.
func Durations() *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.SampledFrom([]int64{0, 1, 10, 30, 30, 200, 200, 1000, 1000, 2000, 4000, 11_000, 40_000, 10 * 60_000, 2 * 3_600_000}),
		func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond })
}
