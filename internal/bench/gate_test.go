//go:build unix

package bench

import "testing"

// The gate is shut while the slowest reader is more than the bound behind, and open again when it is not.
func TestGate(t *testing.T) {
	t.Parallel()
	sender, slow, fast := &member{tally: newTally("0")}, &member{}, &member{}
	g := &gate{senders: []*member{sender}, readers: []*member{sender, slow, fast}}
	for _, tt := range []struct {
		accepted, slow int64
		shut           bool
	}{{0, 0, false}, {10, 0, false}, {11, 0, true}, {12, 1, true}, {12, 2, false}} {
		sender.answered.Store(tt.accepted)
		for _, m := range []*member{sender, fast} {
			m.events.Store(tt.accepted)
		}
		slow.events.Store(tt.slow)
		if err := g.look(10); err != nil {
			t.Fatal(err)
		}
		if got := g.shut.Load(); got != tt.shut {
			t.Errorf("%d accepted, %d read: got shut %v", tt.accepted, tt.slow, got)
		}
	}
}
