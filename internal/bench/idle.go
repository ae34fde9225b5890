//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

// idle is connections that do nothing: what each costs the server in resident memory. All have said hello and joined a
// room, as a person's client does.
//
// The figure is what the system sees, and nothing is asked of the server. It moves for minutes, up with the first
// heartbeats, down with a collection, and is the median of the time measured. Each measurement begins with a fresh process
// where it is ours: memory that an earlier load had made resident would be used again, and too little be told.
type idle struct {
	server *server
	Sizes
	tell func(string)
}

// warm is how many connections are there when the first memory is read, so that what the server keeps for all of them is
// not counted.
const warm = 50

func (i *idle) name() string { return i.server.name }

func (i *idle) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	var m report.Measurement
	if !i.server.known() {
		return m, errors.New("the memory of the server is not known: on Linux name its processes with --pid")
	}
	if err := i.server.restart(ctx); err != nil {
		return m, err
	}
	t := newTally(newRun())
	enter := func(prefix string) func(context.Context, *member, int) error {
		return func(ctx context.Context, m *member, n int) error {
			return m.join(ctx, fmt.Sprintf("%s-%s-%d", prefix, t.run, n%i.Rooms), -1)
		}
	}
	few, err := gather(ctx, i.server, t, "warm", warm, enter("warm"))
	if err != nil {
		return m, err
	}
	defer few.close()
	few.read()
	settle(ctx, i.server)
	before := i.server.usage()
	i.tell(fmt.Sprintf("connecting %d", i.Subscribers))
	many, err := gather(ctx, i.server, t, "idle", i.Subscribers, enter("idle"))
	if err != nil {
		return m, err
	}
	defer many.close()
	many.read()
	connected := time.Since(before.at)
	settle(ctx, i.server)
	from := i.server.usage()
	stop := watch(ctx, length, i.server.memory[:1])
	waited := pause(ctx, length)
	m.Series = stop()
	if !waited {
		return m, ctx.Err()
	}
	if len(m.Series) == 0 {
		return m, errors.New("the server ended")
	}
	after := i.server.usage()
	m.Seconds, m.Usage = after.at.Sub(from.at).Seconds(), between(from, after)
	resident := medianOf(m.Series[0].Points) * (1 << 20)
	m.Figures = []report.Figure{
		{Name: figureMemory, Unit: "KiB", Value: (resident - float64(before.rss)) / 1024 / float64(i.Subscribers)},
		{Name: "connected", Unit: "/s", Value: float64(i.Subscribers) / connected.Seconds()},
	}
	m.Counts = map[string]int64{"connections": int64(i.Subscribers)}
	t.judge(&m, many.totals())
	return m, nil
}

const figureMemory = "resident memory for each connection"
