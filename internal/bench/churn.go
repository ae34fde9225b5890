//go:build unix

package bench

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// churn is clients who come, talk and leave, for a long time, while the memory of the server is looked at: whatever it
// keeps of a connection that is gone, or of a name that never comes again, adds up. Each connection has a name of its own;
// the rooms stay the same, since a room that was used lately may keep its events in memory.
type churn struct {
	server *server
	Sizes
	tell func(string)
}

func (c *churn) name() string { return c.server.name }

// visits is what the connections of a round counted together.
type visits struct {
	lengths stats.Histogram

	mu  sync.Mutex // guards the fields below
	n   int64
	all totals
}

func (v *visits) add(t totals) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	v.all.add(t)
}

func (v *visits) sum() (n int64, all totals) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n, v.all
}

func (c *churn) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	var m report.Measurement
	if err := ensureFiles(c.Subscribers); err != nil {
		return m, err
	}
	if err := c.server.restart(ctx); err != nil {
		return m, err
	}
	t := newTally(newRun())
	t.measuring.Store(true)
	limit := rate.NewLimiter(rate.Inf, 1)
	if c.Rate > 0 {
		limit.SetLimit(rate.Limit(c.Rate))
	}
	var v visits
	before := c.server.usage()
	stop := watch(ctx, length, c.server.memory)
	err := c.visitFor(ctx, length, t, limit, &v)
	series := stop()
	after := c.server.usage()
	if err != nil {
		return m, err
	}
	m.Seconds, m.Usage, m.Series = after.at.Sub(before.at).Seconds(), between(before, after), series
	visited, all := v.sum()
	m.Figures = []report.Figure{
		{Name: figureConnections, Unit: "/s", Value: float64(visited) / m.Seconds},
		{Name: figureMessages, Unit: "/s", Value: float64(all.accepted) / m.Seconds},
	}
	grown(&m)
	latencies(&m, "from connecting to leaving", &v.lengths)
	m.Counts = map[string]int64{
		"connections": visited, "sent": all.sent, "accepted": all.accepted, "delivered": all.delivered,
		"refused": all.refused, "missing": all.gaps, "repeated": all.repeats,
	}
	t.judge(&m, all)
	if visited == 0 {
		m.Invalid = append(m.Invalid, "no client came: the time was over before")
	}
	return m, nil
}

const figureConnections = "connections"

// visitFor lets clients come until the time is over; the error is the first one that met a problem.
func (c *churn) visitFor(ctx context.Context, length time.Duration, t *tally, limit *rate.Limiter, v *visits) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over, end := context.WithTimeout(ctx, length)
	defer end()
	var number atomic.Int64
	var wg sync.WaitGroup
	for w := range c.Subscribers {
		from := c.from(w)
		wg.Go(func() {
			for limit.Wait(over) == nil && over.Err() == nil {
				began := time.Now()
				if err := c.visit(ctx, t, from, number.Add(1), v); err != nil {
					cancel(fmt.Errorf("a client that comes and leaves: %w", err))
					return
				}
				v.lengths.Record(time.Since(began))
			}
		})
	}
	for at := time.Now(); pause(over, 500*time.Millisecond); {
		n, _ := v.sum()
		c.tell(fmt.Sprintf("%.0f of %.0f s · %d clients came and left", time.Since(at).Seconds(), length.Seconds(), n))
	}
	wg.Wait()
	return context.Cause(ctx)
}

// from is an address of its own for each of the clients at once: the kernel keeps the port of a connection that ended for
// a minute.
func (c *churn) from(worker int) net.IP {
	if host := net.ParseIP(c.server.dialer.Server.Hostname()); host == nil || !host.IsLoopback() || host.To4() == nil {
		return nil
	}
	return net.IPv4(127, 0, 1+byte(worker/250), 1+byte(worker%250))
}

// visit is one client: connect, join, send, read until its own messages came back, leave.
func (c *churn) visit(ctx context.Context, t *tally, from net.IP, number int64, v *visits) error {
	m, err := connect(ctx, c.server, from, fmt.Sprintf("churn-%s-%d", t.run, number), t)
	if err != nil {
		return err
	}
	defer func() { _ = m.conn.Close() }() // after Leave it is closed already
	if err := m.join(ctx, fmt.Sprintf("churn-%s-%d", t.run, int(number)%max(c.Rooms, 1)), -1); err != nil {
		return err
	}
	m.prepare(c.TextBytes)
	for range c.Window {
		if err := m.send(t.now(), 1); err != nil {
			return err
		}
	}
	err = m.read(ctx, func() bool { return m.answered.Load()+m.refused.Load() >= m.sends() && m.last >= m.own })
	if err != nil {
		return fmt.Errorf("talk as %s: %w", m.name, err)
	}
	if err := m.conn.WriteText(fmt.Appendf(nil, `{"type":"leave","room":%q}`, m.room)); err != nil {
		return err
	}
	v.add(m.totals())
	return m.conn.Leave()
}
