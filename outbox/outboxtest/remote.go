package outboxtest

import (
	"context"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// Remote is a store behind the link of a process; its operations are outbox/Lease, outbox/Fetch and so on.
type Remote struct {
	outbox.Store
	Link *sim.Link
}

// Lease implements outbox.Store.
func (r Remote) Lease(ctx context.Context, owner string, shards int, ttl time.Duration) ([]int, error) {
	return sim.Call(ctx, r.Link, "outbox/Lease", func() ([]int, error) {
		return r.Store.Lease(context.WithoutCancel(ctx), owner, shards, ttl)
	})
}

// Release implements outbox.Store.
func (r Remote) Release(ctx context.Context, owner string) error {
	return r.Link.Call(ctx, "outbox/Release", func() error { return r.Store.Release(context.WithoutCancel(ctx), owner) })
}

// Fetch implements outbox.Store.
func (r Remote) Fetch(ctx context.Context, shards []int, limit int) ([]outbox.Row, error) {
	return sim.Call(ctx, r.Link, "outbox/Fetch", func() ([]outbox.Row, error) {
		return r.Store.Fetch(context.WithoutCancel(ctx), shards, limit)
	})
}

// Oldest implements outbox.Store.
func (r Remote) Oldest(ctx context.Context, shards []int) (time.Duration, error) {
	return sim.Call(ctx, r.Link, "outbox/Oldest", func() (time.Duration, error) {
		return r.Store.Oldest(context.WithoutCancel(ctx), shards)
	})
}

// MarkPublished implements outbox.Store.
func (r Remote) MarkPublished(ctx context.Context, rows []outbox.Row) error {
	return r.Link.Call(ctx, "outbox/MarkPublished", func() error {
		return r.Store.MarkPublished(context.WithoutCancel(ctx), rows)
	})
}

// Remove implements outbox.Store.
func (r Remote) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	return sim.Call(ctx, r.Link, "outbox/Remove", func() (int64, error) {
		return r.Store.Remove(context.WithoutCancel(ctx), stored)
	})
}

// Unstored implements outbox.Store.
func (r Remote) Unstored(
	ctx context.Context, shards []int, after string, older time.Duration, limit int,
) ([]outbox.Lowest, error) {
	return sim.Call(ctx, r.Link, "outbox/Unstored", func() ([]outbox.Lowest, error) {
		return r.Store.Unstored(context.WithoutCancel(ctx), shards, after, older, limit)
	})
}

// Republish implements outbox.Store.
func (r Remote) Republish(ctx context.Context, key string, after int64, limit int) (int64, error) {
	return sim.Call(ctx, r.Link, "outbox/Republish", func() (int64, error) {
		return r.Store.Republish(context.WithoutCancel(ctx), key, after, limit)
	})
}

// Vacuum implements outbox.Store.
func (r Remote) Vacuum(ctx context.Context) error {
	return r.Link.Call(ctx, "outbox/Vacuum", func() error { return r.Store.Vacuum(context.WithoutCancel(ctx)) })
}
