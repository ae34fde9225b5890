package doctor

import (
	"fmt"
	"time"
)

// Bounds of a clock's deviation. Times in events come from the services' clocks, leases go by the database's alone; a
// minute makes certificates and logs unreadable.
const (
	skewWarn = 2 * time.Second
	skewFail = time.Minute
)

// skew judges how far another clock is ahead of this machine's, known to within ± unsure.
func skew(ahead, unsure time.Duration, whose string) outcome {
	const remedy = "run a time service (chrony, systemd-timesyncd) on both machines"
	side := "ahead of"
	if ahead < 0 {
		ahead, side = -ahead, "behind"
	}
	text := fmt.Sprintf("%s is %s %s this machine", whose, short(ahead), side)
	switch off := ahead - unsure; {
	case off > skewFail:
		return fail(remedy, "%s", text)
	case off > skewWarn:
		return warn(remedy, "%s", text)
	}
	if ahead <= unsure && unsure >= 500*time.Millisecond { // it is the looking that is coarse
		return ok("%s and this machine agree, as far as its whole seconds tell", whose)
	}
	return ok("%s and this machine agree to within %s", whose, short(max(ahead, unsure, time.Millisecond)))
}

func took(start time.Time) string { return "in " + short(time.Since(start)) }

// short is a length of time with two or three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

// plural is "1 row" or "2 rows".
func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
