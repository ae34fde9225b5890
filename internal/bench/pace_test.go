//go:build unix

package bench

import (
	"context"
	"testing"
	"time"
)

func TestPaceOfASender(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    Sizes
		want pace
	}{
		{Sizes{Rooms: 1, Senders: 1}, pace{}},
		{Sizes{Rooms: 1, Senders: 1, Rate: 20}, pace{every: 50 * time.Millisecond, awake: 2 * time.Millisecond}},
		{Sizes{Rooms: 2, Senders: 5, Rate: 1000}, pace{every: 10 * time.Millisecond, awake: 50 * time.Microsecond}},
	} {
		if got := tt.s.pace(); got != tt.want {
			t.Errorf("%+v: got %+v, want %+v", tt.s, got, tt.want)
		}
	}
}

func TestPaceWaitsUntilDue(t *testing.T) {
	t.Parallel()
	for _, awake := range []time.Duration{0, time.Millisecond, time.Hour} {
		due := time.Now().Add(5 * time.Millisecond)
		if ok := (pace{awake: awake}).wait(t.Context(), due); !ok || time.Now().Before(due) {
			t.Errorf("awake for %s: got %v, %s early", awake, ok, time.Until(due))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if (pace{}).wait(ctx, time.Now().Add(time.Hour)) || (pace{}).wait(ctx, time.Now()) {
		t.Error("an ended context does not end the wait")
	}
}

// Rows that were due while the database stalled are late, and count.
func TestBareCommitsAtAPace(t *testing.T) {
	t.Parallel()
	stalled := func() writeRows {
		calls := 0
		return func(context.Context, []sentRow) error {
			if calls++; calls == 2 { // the first one is not measured
				time.Sleep(60 * time.Millisecond)
			}
			return nil
		}
	}
	b := bareLoop{writers: []writeRows{stalled()}, rows: 1, text: "x", pace: pace{every: 10 * time.Millisecond}}
	m, err := b.measure(t.Context(), 100*time.Millisecond)
	if err != nil || m.Counts["rows"] == 0 || m.Counts["rows"] > 10 {
		t.Fatalf("got %v, %v; want ten rows at most", m.Counts, err)
	}
	if p50 := m.Figures[1]; p50.Name != figureAccepted+" p50" || p50.Value < 5 {
		t.Errorf("got %+v; want that most were late", p50)
	}
}
