package bench

import (
	"fmt"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// saturated is the share of its half of the cores at which a side counts as busy to the limit.
const saturated = 0.8

// usage is what the sides have used up to a moment. A time of 0 means that it is not known.
type usage struct {
	at        time.Time
	server    time.Duration // CPU time of the processes that serve the clients
	side      time.Duration // of those and all that they stand on
	generator time.Duration
	machine   time.Duration // of all processes of this machine
	rss       int64         // bytes, of the processes that serve the clients
}

// between is what was used from a to b, in cores and bytes.
func between(a, b usage) report.Usage {
	seconds := b.at.Sub(a.at).Seconds()
	if seconds <= 0 {
		return report.Usage{}
	}
	cores := func(from, to time.Duration) float64 { return max(0, (to-from).Seconds()/seconds) }
	u := report.Usage{
		ServerCPU: cores(a.server, b.server), SideCPU: cores(a.side, b.side), GeneratorCPU: cores(a.generator, b.generator), ServerRSS: b.rss,
	}
	if b.machine > 0 {
		u.OthersCPU = max(0, cores(a.machine, b.machine)-u.SideCPU-u.GeneratorCPU)
	}
	return u
}

// disturbed is how many cores others may use before a note says so.
const disturbed = 0.3

// disturbance tells that the machine was not ours alone. Ratios within a round bear it, figures by themselves do not.
func disturbance(u report.Usage) []string {
	if u.OthersCPU < disturbed {
		return nil
	}
	return []string{"other processes used cores of this machine meanwhile: compare ratios, not figures"}
}

// limitedBy tells why a saturating measurement says more about the generator than about the server; empty: it does not.
// Where the server's CPU time is known both share the machine, and each has a fair half of its cores. The generator was
// the limit where it used nearly all of its share while the server's side did not use nearly all of its own. Where the
// server is elsewhere, all cores are the generator's.
func limitedBy(u report.Usage, cores int, known bool) string {
	share := float64(cores)
	if known {
		share /= 2
		if u.SideCPU >= saturated*share {
			return ""
		}
	}
	if u.GeneratorCPU <= saturated*share {
		return ""
	}
	text := fmt.Sprintf("the generator was the limit: it used %.2f of its %.1f cores", u.GeneratorCPU, share)
	if known {
		text += fmt.Sprintf(", the server's side only %.2f", u.SideCPU)
	}
	return text
}

const (
	timers    = 200 * time.Microsecond // by which any timer may be late
	enoughFor = 1000                   // messages, of whom a p99 is not that of a few
)

// lateBy tells why latencies say more about the generator than about the server: half of what was measured, or more, is that
// it sent later than planned. The p99 of few messages is that of one or two, which a hiccup of the machine makes late at
// any time: then it is a note, about the p99 only.
func lateBy(late, latency *stats.Histogram) (invalid, note string) {
	for _, at := range []struct {
		q     float64
		share string
		label string
	}{{0.5, "half", "p50"}, {0.99, "1%", "p99"}} {
		by, measured := late.Quantile(at.q), latency.Quantile(at.q)
		if by < timers || by < measured/2 {
			continue
		}
		text := fmt.Sprintf("the generator was late itself: %s of the messages were sent %s or more after their time, with a %s of %s measured",
			at.share, by.Round(10*time.Microsecond), at.label, measured.Round(10*time.Microsecond))
		if at.q > 0.5 && late.Count() < enoughFor {
			return "", fmt.Sprintf("%s; these are few of %d messages, and only the p99 is theirs", text, late.Count())
		}
		return text, ""
	}
	return "", ""
}

// judgeLateness adds to a measurement whether its latencies are the generator's own.
func judgeLateness(m *report.Measurement, late, latency *stats.Histogram) {
	invalid, note := lateBy(late, latency)
	if invalid != "" {
		m.Invalid = append(m.Invalid, invalid)
	}
	if note != "" {
		m.Notes = append(m.Notes, note)
	}
}
