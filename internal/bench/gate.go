//go:build unix

package bench

import (
	"fmt"
	"sync/atomic"
	"time"
)

// gate holds up the senders of a room while its slowest reader is too far behind.
type gate struct {
	shut    atomic.Bool
	senders []*member
	readers []*member // of whom the slowest counts
}

const (
	gateEvery   = 2 * time.Millisecond
	gateReaders = 64 // of a room that are looked at
)

// gates makes one for each room, where there is a bound.
func (t *traffic) gates(c *crowd, each int) (gates []*gate) {
	if t.Lag == 0 || t.Rate > 0 {
		return nil
	}
	for i := 0; i < len(c.members); i += each {
		room := c.members[i : i+each]
		g := &gate{senders: room[:t.Senders]}
		for k := 0; k < each; k += max(1, each/gateReaders) {
			g.readers = append(g.readers, room[k])
		}
		for _, m := range g.senders {
			m.gate = g
		}
		gates = append(gates, g)
	}
	return gates
}

// look shuts or opens the gate, and sends what waited.
func (g *gate) look(lag int) error {
	var accepted int64
	for _, m := range g.senders {
		accepted += m.answered.Load()
	}
	behind := int64(0)
	for _, m := range g.readers {
		behind = max(behind, accepted-m.events.Load())
	}
	shut := behind > int64(lag)
	g.shut.Store(shut)
	if shut {
		return nil
	}
	for _, m := range g.senders {
		if n := m.parked.Swap(0); n > 0 && m.tally.sending.Load() {
			if err := m.send(m.tally.now(), int(n)); err != nil {
				return fmt.Errorf("send as %s: %w", m.name, err)
			}
		}
	}
	return nil
}
