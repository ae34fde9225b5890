package storetest

import (
	"context"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/persister"
)

// Remote is a store behind the link of a process; its operations are messages/Insert, messages/Page and
// messages/AdvanceWatermarks.
type Remote struct {
	persister.Store
	Link *sim.Link
}

// Insert implements persister.Store.
func (r Remote) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	sent := append([]events.MessageSent(nil), evs...) // the caller may be done with them when a late call is done
	return sim.Call(ctx, r.Link, "messages/Insert", func() ([]error, error) {
		return r.Store.Insert(context.WithoutCancel(ctx), sent)
	})
}

// Page implements persister.Store.
func (r Remote) Page(ctx context.Context, q persister.PageQuery) (persister.Page, error) {
	return sim.Call(ctx, r.Link, "messages/Page", func() (persister.Page, error) {
		return r.Store.Page(context.WithoutCancel(ctx), q)
	})
}

// AdvanceWatermarks implements persister.Store.
func (r Remote) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	return sim.Call(ctx, r.Link, "messages/AdvanceWatermarks", func() (map[string]int64, error) {
		return r.Store.AdvanceWatermarks(context.WithoutCancel(ctx), rooms)
	})
}
