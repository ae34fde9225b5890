package outbox_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// Writers go on between any two reads of a comparison. What it takes for lost must be lost all the same: here nothing is.
func TestReconcileIsExactBesideWriters(t *testing.T) {
	t.Parallel()
	b := openSQLite(t)
	s := b.Store.(outbox.Inspector)
	head, mark := int64(0), int64(0)
	appendRow := func() {
		head++
		if err := b.Append(t.Context(), []outbox.Row{{Key: "k", Seq: head, Payload: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	storeAll := func() {
		mark = head
		if _, err := s.Remove(t.Context(), map[string]int64{"k": mark}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		appendRow()
	}
	r := outbox.Reconciliation{
		Store: s, DryRun: true,
		Page: func(_ context.Context, after string, _ int) ([]outbox.Head, error) {
			if after != "" {
				return nil, nil
			}
			defer appendRow()
			return []outbox.Head{{Key: "k", Seq: head}}, nil
		},
		Heads: func(context.Context, []string) (map[string]int64, error) { return map[string]int64{"k": head}, nil },
		Watermarks: func(context.Context, []string) (map[string]int64, error) {
			defer storeAll()
			return map[string]int64{"k": mark}, nil
		},
	}
	got, err := r.Run(t.Context())
	if diff := cmp.Diff(outbox.Reconciled{Keys: 1, Unstored: 1, Rows: 11, Waiting: 11}, got); diff != "" || err != nil {
		t.Errorf("nothing is stored: %v\n%s", err, diff)
	}
	// All is stored now, and the watermark is read when it is beyond the head that was read first.
	r.Watermarks = func(context.Context, []string) (map[string]int64, error) {
		storeAll()
		return map[string]int64{"k": mark}, nil
	}
	got, err = r.Run(t.Context())
	if diff := cmp.Diff(outbox.Reconciled{Keys: 1}, got); diff != "" || err != nil {
		t.Errorf("all is stored: %v\n%s", err, diff)
	}
}

// A relay that is present is left to its work; when it goes, the reconciliation relays.
func TestReconcileRelaysWhenTheOtherRelayIsGone(t *testing.T) {
	t.Parallel()
	b := openSQLite(t)
	s := b.Store.(outbox.Inspector)
	if err := b.Append(t.Context(), []outbox.Row{{Key: "k", Seq: 1, Payload: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lease(t.Context(), "other", 4, time.Minute); err != nil {
		t.Fatal(err)
	}
	looks := 0
	var mark atomic.Int64 // moved by the relay
	_, err := outbox.Reconciliation{
		Store: s, Owner: "me", Wait: time.Minute,
		Page: func(_ context.Context, after string, _ int) ([]outbox.Head, error) {
			return []outbox.Head{{Key: "k", Seq: 1}}, nil
		},
		Watermarks: func(ctx context.Context, _ []string) (map[string]int64, error) {
			looks++
			if looks == 3 {
				if mark.Load() > 0 {
					t.Error("relayed while another relay was present")
				}
				if err := s.Release(ctx, "other"); err != nil {
					t.Error(err)
				}
			}
			return map[string]int64{"k": mark.Load()}, nil
		},
		Relay: func(context.Context) error {
			mark.Store(1)
			return nil
		},
	}.Run(t.Context())
	if err != nil || mark.Load() != 1 {
		t.Errorf("mark %d, %v", mark.Load(), err)
	}
}
