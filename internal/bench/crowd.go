//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

const (
	answerWithin = 60 * time.Second // to hello and join, on a machine that is busy
	dialers      = 32               // connections that are opened at once
	perSource    = 20_000           // connections from one loopback address: the kernel has some 28,000 ports for it
)

// crowd is many members and their readers.
type crowd struct {
	members []*member
	wg      sync.WaitGroup
}

// gather connects n members, and calls enter for each before the next one of its dialer.
func gather(ctx context.Context, s *server, t *tally, prefix string, n int, enter func(ctx context.Context, m *member, i int) error) (*crowd, error) {
	if err := ensureFiles(n); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &crowd{members: make([]*member, n)}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(dialers, n) {
		wg.Go(func() {
			for i := range next {
				m, err := connect(ctx, s, source(s, i, n), fmt.Sprintf("%s-%s-%d", prefix, t.run, i), t)
				if err == nil {
					c.members[i] = m
					err = enter(ctx, m, i)
				}
				if err != nil {
					cancel(fmt.Errorf("connection %d of %d: %w", i+1, n, err))
					return
				}
			}
		})
	}
	func() {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// source is the address that a connection comes from, where one address has too few ports for all.
func source(s *server, i, n int) net.IP {
	if host := net.ParseIP(s.dialer.Server.Hostname()); n <= perSource || host == nil || !host.IsLoopback() || host.To4() == nil {
		return nil
	}
	return net.IPv4(127, 0, 0, byte(1+i/perSource))
}

// read starts a reader for every member.
func (c *crowd) read() {
	for _, m := range c.members {
		c.wg.Go(m.run)
	}
}

// close ends all connections and waits for the readers.
func (c *crowd) close() {
	for _, m := range c.members {
		if m != nil {
			_ = m.conn.Close()
		}
	}
	c.wg.Wait()
}

// totals are the counts of one member, or of many.
type totals struct {
	sent, accepted, delivered, refused, gaps, repeats, again int64
}

func (t *totals) add(o totals) {
	t.sent += o.sent
	t.accepted += o.accepted
	t.delivered += o.delivered
	t.refused += o.refused
	t.gaps += o.gaps
	t.repeats += o.repeats
	t.again += o.again
}

func (c *crowd) totals() (t totals) {
	for _, m := range c.members {
		t.add(m.totals())
	}
	return t
}

// judge adds to a measurement what makes it worthless whatever it measured: errors, and broken promises.
func (t *tally) judge(m *report.Measurement, c totals) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for code, n := range t.errors {
		text := fmt.Sprintf("the server refused %d messages: %s", n, code)
		if code == "rate_limited" {
			text += "; start it with --send-rate 0"
		}
		m.Invalid = append(m.Invalid, text)
	}
	if t.lost != nil {
		m.Invalid = append(m.Invalid, fmt.Sprintf("a connection ended: %v", t.lost))
	}
	for _, broken := range []struct {
		n    int64
		what string
	}{{c.gaps, "events are missing before later ones"}, {c.repeats, "events came again"}, {c.again, "messages were accepted twice, or were not ours"}} {
		if broken.n > 0 {
			m.Invalid = append(m.Invalid, fmt.Sprintf("%d %s", broken.n, broken.what))
		}
	}
}

// pause waits; false where ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// arrivalsEvery is how often the members are asked what has come.
const arrivalsEvery = 5 * time.Millisecond

// until polls a condition for a while and tells whether it came true.
func until(ctx context.Context, within, every time.Duration, done func() bool) (bool, error) {
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			return false, nil
		}
		if !pause(ctx, every) {
			return false, errors.Join(errors.New("interrupted"), ctx.Err())
		}
	}
	return true, nil
}
