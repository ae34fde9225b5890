//go:build !linux

package bench

import "time"

// machineCPU is not known either.
func machineCPU() time.Duration { return 0 }

// processes knows nothing where there is no /proc.
func processes([]int) (cpu time.Duration, rss int64) { return 0, 0 }
