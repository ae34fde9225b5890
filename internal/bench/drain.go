//go:build unix

package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

// drain is a backlog, as an outage of the broker leaves one: accepted rows wait in the outbox until the chat room starts,
// and are drained until all are announced stored. The time counts from the start of its process, which is part of the
// figure: a backlog should be large enough that a second does not matter.
type drain struct {
	own *installation
	Sizes
	tell func(string)
}

// drainLimit bounds a round: a server that drains so slowly has another problem.
const drainLimit = 15 * time.Minute

// drainLooks is the length for which the looks at the memory are apart enough.
const drainLooks = 30 * time.Second

func (d *drain) name() string { return Subject }

func (d *drain) measure(ctx context.Context, _ time.Duration) (report.Measurement, error) {
	var m report.Measurement
	t := newTally(newRun())
	each := max(1, d.Rows/d.Rooms)
	room := func(i int) string { return fmt.Sprintf("drain-%s-%d", t.run, i) }
	if err := d.own.stopChat(ctx); err != nil {
		return m, err
	}
	if err := d.own.fillOutbox(ctx, room, d.Rooms, each, d.TextBytes, d.tell); err != nil {
		return m, err
	}
	s := d.own.server()
	before := s.usage() // of the rest: the chat room is down
	began := time.Now()
	if err := d.own.startChat(ctx); err != nil {
		return m, err
	}
	c, err := gather(ctx, s, t, "drain", d.Rooms, func(ctx context.Context, m *member, i int) error {
		return m.join(ctx, room(i), int64(each))
	})
	if err != nil {
		return m, err
	}
	defer c.close()
	c.read()
	rows := int64(each * d.Rooms)
	stop := watch(ctx, drainLooks, s.memory)
	told, last := time.Now(), int64(0)
	done, err := until(ctx, drainLimit, arrivalsEvery, func() bool {
		var n int64
		for _, m := range c.members {
			n += m.stored.Load()
		}
		if since := time.Since(told); since > 500*time.Millisecond {
			d.tell(fmt.Sprintf("stored %d of %d · %.0f/s", n, rows, float64(n-last)/since.Seconds()))
			told, last = time.Now(), n
		}
		return n >= rows
	})
	m.Series = stop()
	if err != nil {
		return m, err
	}
	after := s.usage()
	m.Seconds, m.Usage = time.Since(began).Seconds(), between(before, after)
	m.Figures = []report.Figure{{Name: figureMessages, Unit: "/s", Value: float64(rows) / m.Seconds}}
	grown(&m)
	m.Counts = map[string]int64{"rows": rows}
	t.judge(&m, c.totals())
	if !done {
		m.Invalid = append(m.Invalid, fmt.Sprintf("%d rows were not stored within %s", rows, drainLimit))
	}
	return m, nil
}
