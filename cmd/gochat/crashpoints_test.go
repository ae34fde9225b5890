package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func TestCrashPointsAreChecked(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"accept-committed": true, "insert-committed:3": true,
		"accept": false, "accept-committed:0": false, "accept-committed:x": false, "accept-committed:": false, ":3": false,
	} {
		if err := checkCrash(text); (err == nil) != good {
			t.Errorf("%q: got %v, want good %v", text, err, good)
		}
	}
	for text, good := range map[string]bool{"0": true, "0.5": true, "1": true, "-0.1": false, "1.1": false, "NaN": false, "x": false} {
		if err := checkShare(text); (err == nil) != good {
			t.Errorf("share %q: got %v, want good %v", text, err, good)
		}
	}
}

// A disturbed delivery is handled at least once, and never told to be stored when its handling failed.
func TestDisturbedDeliveries(t *testing.T) {
	t.Parallel()
	errOutage := errors.New("outage")
	var calls, failing atomic.Int64
	h := disturbed(func(context.Context, [][]byte) []error {
		if calls.Add(1)%2 == 0 {
			failing.Add(1)
			return []error{errOutage}
		}
		return []error{nil}
	}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing is held back
	const n = 300
	given := 0
	for range n {
		if errs := h(ctx, [][]byte{nil}); len(errs) != 1 {
			t.Fatalf("got %d answers, want 1", len(errs))
		} else if errors.Is(errs[0], errDisturbed) {
			given++
		}
	}
	if got := calls.Load(); got <= n {
		t.Errorf("%d deliveries were handled %d times; none twice", n, got)
	}
	if given == 0 {
		t.Error("none was given back after it was stored")
	}
}
