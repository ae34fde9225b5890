//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

// Sweeps: what the cost of a message is drawn against.
const (
	OfSubscribers = "subscribers"
	OfRooms       = "rooms"
	OfText        = "text"
	OfTable       = "table"
)

// sweeps are traffic at saturation in which one number changes.
var sweeps = map[string]struct {
	axis     string // what the sizes count
	sizes    []int
	scenario string
	base     func(*Sizes) // beside the scenario's defaults
	set      func(s *Sizes, n int)
}{
	OfSubscribers: {"subscribers", []int{1, 10, 100, 1000, 4000}, Fanout, func(*Sizes) {}, func(s *Sizes, n int) { s.Subscribers = n }},
	OfRooms: {"rooms", []int{1, 10, 100, 1000}, Fanout, func(s *Sizes) { s.Subscribers, s.Senders, s.Window = 9, 1, 16 },
		func(s *Sizes, n int) { s.Rooms = n }},
	OfText:  {"bytes of text", []int{20, 100, 500, 2000, 4000}, Fanout, func(s *Sizes) { s.Subscribers = 100 }, func(s *Sizes, n int) { s.TextBytes = n }},
	OfTable: {"rows", []int{10_000, 100_000, 1_000_000}, Ingest, func(*Sizes) {}, func(*Sizes, int) {}},
}

// Sweeps returns the names of all.
func Sweeps() []string { return slices.Sorted(maps.Keys(sweeps)) }

// sizeName is the name of a sweep's subject.
func sizeName(of string, n int) string { return report.Number(float64(n)) + " " + sweeps[of].axis }

// sizes are those that are asked for, or the sweep's own.
func (p Plan) sizes() []int {
	if len(p.At) > 0 {
		return p.At
	}
	return sweeps[p.Of].sizes
}

// sweeping is traffic at one size of a sweep.
type sweeping struct {
	traffic
	title string
	size  int
}

func (s *sweeping) name() string { return s.title }

// sweep makes a subject for each size, so that all are measured in each round. done is to be called in any case.
func (b *Bench) sweep(ctx context.Context, p Plan, tell func(string)) (all []subject, done func(), err error) {
	done = func() {}
	of, ok := sweeps[p.Of]
	if !ok {
		return nil, done, fmt.Errorf("no sweep of %q; there are %s", p.Of, strings.Join(Sweeps(), ", "))
	}
	if p.Of == OfTable && b.own == nil {
		return nil, done, errors.New("a sweep of the table fills the tables of installations of its own, not of another server")
	}
	var beside []*installation
	done = func() {
		for _, i := range beside {
			if err := i.stop(context.WithoutCancel(ctx)); err != nil {
				tell(err.Error())
			}
		}
	}
	for _, n := range p.sizes() {
		s := &sweeping{title: sizeName(p.Of, n), size: n}
		s.traffic = traffic{server: b.server, Sizes: p.sized(of.scenario, of.base), drainWithin: b.cfg.DrainWithin, costs: true, tell: tell}
		of.set(&s.Sizes, n)
		if p.Of == OfTable {
			i, err := b.withRows(ctx, n, tell)
			if i != nil {
				beside = append(beside, i)
			}
			if err != nil {
				return nil, done, err
			}
			s.server = i.server()
		}
		all = append(all, s)
	}
	return all, done, nil
}

// sized are a scenario's defaults, changed by the sweep and then by what the plan says.
func (p Plan) sized(scenario string, change func(*Sizes)) Sizes {
	s := DefaultSizes(scenario)
	change(&s)
	for _, of := range []struct{ size, asked *int }{
		{&s.Rooms, &p.Rooms}, {&s.Subscribers, &p.Subscribers}, {&s.Senders, &p.Senders}, {&s.Window, &p.Window}, {&s.Lag, &p.Lag}, {&s.TextBytes, &p.TextBytes},
	} {
		if *of.asked > 0 {
			*of.size = *of.asked
		}
	}
	s.Rate = p.Rate
	return s
}
