//go:build unix

package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

const measuring = 64 // members whose deliveries are timed, spread over all

// traffic is messages in rooms: fan-out, ingest and latency differ in its numbers only. Every round has rooms and
// connections of its own, so that each event can be accounted for.
//
// At saturation each sender has a window of messages in flight and sends the next one on an answer; where the readers are
// too far behind it waits, since to measure how a backlog is read from the databases is another matter. At a rate it sends by
// a plan, whatever the answers do, and latencies count from the planned time: a server that stalls makes every message
// late that was due meanwhile (no coordinated omission).
type traffic struct {
	server *server
	Sizes
	drainWithin time.Duration // for what was under way when the sending ended
	outboxFrom  time.Duration // a measurement in which an outbox that is not emptied in time can be seen to grow
	costs       bool          // CPU time for each delivery and each message are figures
	tell        func(rate string)
}

func (t *traffic) name() string { return t.server.name }

// measure has one round.
func (t *traffic) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	var m report.Measurement
	ta := newTally(newRun())
	each := t.Senders + t.Subscribers // in a room
	n := t.Rooms * each
	c, err := gather(ctx, t.server, ta, "bench", n, func(ctx context.Context, m *member, i int) error {
		m.measures = n <= measuring || i%(n/measuring) == 0
		m.closed = t.Rate == 0
		if m.measures && !m.closed {
			m.times = make([]int64, remembered)
		}
		if err := m.join(ctx, fmt.Sprintf("bench-%s-%d", ta.run, i/each), 0); err != nil {
			return err
		}
		m.prepare(t.TextBytes)
		return nil
	})
	if err != nil {
		return m, err
	}
	defer c.close()
	c.read()
	settle(ctx, t.server)

	var senders []*member
	for i, m := range c.members {
		if i%each < t.Senders {
			senders = append(senders, m)
		}
	}
	stop := t.start(ctx, ta, senders, t.gates(c, each))
	defer stop()
	if !pause(ctx, min(time.Second, length/4)) { // plans, caches, full windows
		return m, ctx.Err()
	}
	watched, err := t.watchOutbox(ctx, length)
	if err != nil {
		return m, err
	}
	ta.measuring.Store(true)
	before, from := t.server.usage(), c.totals()
	t.follow(ctx, c, length)
	after, to := t.server.usage(), c.totals()
	ta.measuring.Store(false)
	m.Series = watched()
	stop()
	if err := ctx.Err(); err != nil {
		return m, err
	}
	done, err := until(ctx, t.drainWithin, arrivalsEvery, func() bool { return arrived(c, each) })
	if err != nil {
		return m, err
	}
	end := c.totals()
	m.Seconds = after.at.Sub(before.at).Seconds()
	m.Usage = between(before, after)
	m.Notes = disturbance(m.Usage)
	t.figures(&m, ta, from, to)
	for _, s := range m.Series {
		m.Figures = append(m.Figures, report.Figure{Name: atMost(s.Name), Unit: s.Unit, Value: highest(s.Points)})
	}
	m.Counts = map[string]int64{
		"connections": int64(n), "sent": end.sent, "accepted": end.accepted, "delivered": end.delivered,
		"expected": end.accepted * int64(each), "missing": end.gaps, "repeated": end.repeats, "refused": end.refused,
	}
	ta.judge(&m, end)
	if !done {
		m.Invalid = append(m.Invalid, fmt.Sprintf("%d of %d deliveries, and %d of %d answers, had not come %s after the end",
			end.accepted*int64(each)-end.delivered, end.accepted*int64(each), end.sent-end.accepted-end.refused, end.sent, t.drainWithin))
	}
	t.limits(&m, ta)
	return m, nil
}

// arrived tells whether every send is answered and every member has seen all of its room.
func arrived(c *crowd, each int) bool {
	for i := 0; i < len(c.members); i += each {
		var accepted, open int64
		for _, m := range c.members[i : i+each] {
			n := m.answered.Load()
			accepted += n
			open += m.sends() - n - m.refused.Load()
		}
		if open > 0 {
			return false
		}
		for _, m := range c.members[i : i+each] {
			if m.events.Load() < accepted {
				return false
			}
		}
	}
	return true
}

// start makes the senders send; what it returns ends that, and waits.
func (t *traffic) start(ctx context.Context, ta *tally, senders []*member, gates []*gate) (stop func()) {
	ta.sending.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	p := t.pace()
	for i, m := range senders {
		wg.Go(func() {
			var err error
			if p.every > 0 {
				err = p.send(ctx, m, ta.now()+int64(p.every)*int64(i)/int64(len(senders)))
			} else {
				err = m.send(ta.now(), t.Window)
			}
			if err != nil {
				ta.end(fmt.Errorf("send as %s: %w", m.name, err))
			}
		})
	}
	if len(gates) > 0 {
		wg.Go(func() {
			for pause(ctx, gateEvery) {
				for _, g := range gates {
					if err := g.look(t.Lag); err != nil {
						ta.end(err)
					}
				}
			}
		})
	}
	return func() {
		ta.sending.Store(false)
		cancel()
		wg.Wait()
	}
}

// watchOutbox looks at the rows in the outbox, where they can be counted and the measurement is long. What it returns ends
// that.
func (t *traffic) watchOutbox(ctx context.Context, length time.Duration) (stop func() []report.Series, err error) {
	if t.server.outbox == nil || t.Rate == 0 || length < t.outboxFrom {
		return func() []report.Series { return nil }, nil
	}
	w, done, err := t.server.outbox(ctx)
	if err != nil {
		return nil, err
	}
	watching := watch(ctx, length, []watched{w})
	return func() []report.Series { defer done(); return watching() }, nil
}

// follow tells how it goes until the time is over.
func (t *traffic) follow(ctx context.Context, c *crowd, length time.Duration) {
	const every = 500 * time.Millisecond
	end := time.Now().Add(length)
	last, at := c.totals(), time.Now()
	for left := length; left > 0; left = time.Until(end) {
		if !pause(ctx, min(every, left)) {
			return
		}
		now, seconds := c.totals(), time.Since(at).Seconds()
		t.tell(fmt.Sprintf("accepted %.0f/s · delivered %.0f/s", float64(now.accepted-last.accepted)/seconds, float64(now.delivered-last.delivered)/seconds))
		last, at = now, time.Now()
	}
}

// Names of figures that subjects share, so that a ratio can be made.
const (
	figureMessages  = "messages"
	figureDelivered = "deliveries"
	figurePerCPU    = "deliveries for each CPU-second of the server"
	figureAccepted  = "accepted"
	figureLatency   = "delivered"
	figureStored    = "stored"

	figureCPUDelivery = "CPU of the server for each delivery"
	figureCPUMessage  = "CPU of all sides for each message"
)

func (t *traffic) figures(m *report.Measurement, ta *tally, from, to totals) {
	delivered := float64(to.delivered - from.delivered)
	m.Figures = append(m.Figures,
		report.Figure{Name: figureMessages, Unit: "/s", Value: float64(to.accepted-from.accepted) / m.Seconds},
		report.Figure{Name: figureDelivered, Unit: "/s", Value: delivered / m.Seconds})
	if cpu := m.Usage.ServerCPU * m.Seconds; cpu > 0 {
		m.Figures = append(m.Figures, report.Figure{Name: figurePerCPU, Value: delivered / cpu})
	}
	if t.costs {
		t.cost(m, float64(to.accepted-from.accepted), delivered)
		return // at saturation latencies tell of the window
	}
	latencies(m, figureAccepted, &ta.accepted)
	latencies(m, figureLatency, &ta.delivered)
	latencies(m, figureStored, &ta.stored)
}

// cost tells what a delivery costs the server, and a message all that it passes, the generator apart.
func (t *traffic) cost(m *report.Measurement, accepted, delivered float64) {
	const micro = 1e6
	if m.Usage.ServerCPU == 0 || accepted == 0 || delivered == 0 {
		return
	}
	m.Figures = append(m.Figures,
		report.Figure{Name: figureCPUDelivery, Unit: "µs", Value: m.Usage.ServerCPU * m.Seconds * micro / delivered},
		report.Figure{Name: figureCPUMessage, Unit: "µs", Value: m.Usage.SideCPU * m.Seconds * micro / accepted})
}

// latencies adds the percentiles of a histogram.
func latencies(m *report.Measurement, name string, h *stats.Histogram) {
	if h.Count() == 0 {
		return
	}
	for _, q := range []struct {
		label string
		q     float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		m.Figures = append(m.Figures, report.Figure{Name: name + " " + q.label, Unit: "ms", Value: ms(h.Quantile(q.q))})
	}
	if m.Curve == nil {
		m.Curve = make(map[string][]report.Point)
	}
	for _, percent := range []float64{10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100} {
		m.Curve[name] = append(m.Curve[name], report.Point{Percent: percent, MS: ms(h.Quantile(percent / 100))})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// limits tells where the figures are the generator's own.
func (t *traffic) limits(m *report.Measurement, ta *tally) {
	if t.Rate == 0 {
		if text := limitedBy(m.Usage, runtime.NumCPU(), t.server.known()); text != "" {
			m.Invalid = append(m.Invalid, text)
		}
		return
	}
	latency := &ta.delivered
	if latency.Count() == 0 {
		latency = &ta.accepted
	}
	judgeLateness(m, &ta.late, latency)
	if got := m.Figures[0].Value; got < 0.95*t.Rate {
		m.Notes = append(m.Notes, fmt.Sprintf("the rate was not held: %.0f of %.0f messages/s", got, t.Rate))
	}
}

// settle waits until the server's side has little to do, so that one round's work is not in the next one's figures; false:
// it had too much.
func settle(ctx context.Context, s *server) bool {
	const (
		idle   = 0.15 // cores
		within = 30 * time.Second
		every  = 250 * time.Millisecond
	)
	for end := time.Now().Add(within); time.Now().Before(end); {
		before := s.usage()
		if before.rss == 0 || !pause(ctx, every) || between(before, s.usage()).SideCPU < idle {
			return true
		}
	}
	return false
}
