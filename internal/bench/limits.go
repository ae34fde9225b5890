//go:build unix

package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// spareFiles is what this process has open beside its connections.
const spareFiles = 200

// ensureFiles raises the limit on open files where n connections would not fit.
func ensureFiles(n int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("read the limit on open files: %w", err)
	}
	need := uint64(n + spareFiles)
	if uint64(l.Cur) >= need { //nolint:unconvert // some systems have it signed
		return nil
	}
	was := l.Cur
	l.Cur = max(l.Cur, l.Max)
	if uint64(l.Cur) < need { //nolint:unconvert // likewise
		setLimit(&l.Cur, need) // only root may
		setLimit(&l.Max, need)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("%d connections need %d open files, and the limit is %d: raise it (ulimit -n): %w", n, need, was, err)
	}
	return nil
}

// setLimit sets a limit, which some systems have signed.
func setLimit[T int64 | uint64](l *T, n uint64) { *l = T(n) }

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(unix.TimevalToNsec(r.Utime) + unix.TimevalToNsec(r.Stime))
}
