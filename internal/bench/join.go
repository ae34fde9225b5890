//go:build unix

package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// joining is many clients who join one room at once, as after a restart: how long until each has its answer and the
// events that follow on it. On an installation of its own the room is long, and the first page of it is timed beside
// that of a short one.
type joining struct {
	server *server
	own    *installation // nil: the room is as it is
	Sizes
	tell func(string)
}

const (
	shortRoom = 1000 // events
	pages     = 200  // first pages that are timed, of each room
	pageLimit = 50   // events
)

func (j *joining) name() string { return j.server.name }

func (j *joining) measure(ctx context.Context, _ time.Duration) (report.Measurement, error) {
	var m report.Measurement
	t := newTally(newRun())
	long, short := "join-"+t.run, ""
	if j.own != nil && j.server.name == Subject && j.Events > 0 {
		long, short = fmt.Sprintf("long-%d", j.Events), "short"
		for room, events := range map[string]int{long: j.Events, short: shortRoom} {
			if err := j.own.fillRoom(ctx, room, events, j.tell); err != nil {
				return m, err
			}
		}
	}
	c, err := gather(ctx, j.server, t, "join", j.Subscribers, func(context.Context, *member, int) error { return nil })
	if err != nil {
		return m, err
	}
	defer c.close()
	settle(ctx, j.server)
	firstLong, firstShort := new(stats.Histogram), new(stats.Histogram)
	if short != "" {
		j.tell("reading first pages")
		var err error
		if firstLong, firstShort, err = c.members[0].firstPages(ctx, long, short); err != nil {
			return m, err
		}
	}
	j.tell(fmt.Sprintf("%d clients join", j.Subscribers))
	var joined stats.Histogram
	before := j.server.usage()
	if err := c.joinAll(ctx, long, &joined); err != nil {
		return m, err
	}
	after := j.server.usage()
	m.Seconds, m.Usage = after.at.Sub(before.at).Seconds(), between(before, after)
	m.Figures = append(m.Figures, report.Figure{Name: figureAllJoined, Unit: "ms", Value: ms(joined.Max())})
	latencies(&m, "joined", &joined)
	latencies(&m, figureLongPage, firstLong)
	latencies(&m, figureShortPage, firstShort)
	end := c.totals()
	m.Counts = map[string]int64{"connections": int64(j.Subscribers), "joined": joined.Count(), "delivered": end.delivered}
	t.judge(&m, end)
	return m, nil
}

const (
	figureAllJoined = "until all had joined"
	figureLongPage  = "first page, long room"
	figureShortPage = "first page, room of 1,000"
)

// joinAll lets everybody join at once and records when each had the last event there was.
func (c *crowd) joinAll(ctx context.Context, room string, joined *stats.Histogram) error {
	ready := make(chan struct{})
	errs := make(chan error, len(c.members))
	var began time.Time
	var wg sync.WaitGroup
	for _, m := range c.members {
		wg.Go(func() {
			<-ready
			if err := m.join(ctx, room, -1); err != nil {
				errs <- err
				return
			}
			joined.Record(time.Since(began))
		})
	}
	began = time.Now()
	close(ready)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// firstPages asks for the newest page of two rooms in turn, again and again.
func (m *member) firstPages(ctx context.Context, long, short string) (inLong, inShort *stats.Histogram, err error) {
	got := false
	m.page = func([]byte) { got = true }
	defer func() { m.page = nil }()
	inLong, inShort = new(stats.Histogram), new(stats.Histogram)
	for range pages {
		for _, of := range []struct {
			room string
			h    *stats.Histogram
		}{{long, inLong}, {short, inShort}} {
			got = false
			text := fmt.Sprintf(`{"type":"history","id":"page","room":%q,"before":%d,"limit":%d}`, of.room, int64(1)<<52, pageLimit)
			began := time.Now()
			if err := m.ask(ctx, text, func() bool { return got || m.refused.Load() > 0 }); err != nil {
				return nil, nil, fmt.Errorf("read the first page of %s: %w", of.room, err)
			}
			of.h.Record(time.Since(began))
		}
	}
	return inLong, inShort, nil
}
