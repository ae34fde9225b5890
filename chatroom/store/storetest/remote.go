package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/sim"
)

// Remote is a store behind the link of a process; its operations are rooms/Accept, rooms/Tail and so on. An answer to
// Accept that is lost makes its outcome unknown.
type Remote struct {
	store.Store
	Link *sim.Link
}

// OpenRoom implements store.Store.
func (r Remote) OpenRoom(ctx context.Context, room string) (int64, error) {
	return sim.Call(ctx, r.Link, "rooms/OpenRoom", func() (int64, error) {
		return r.Store.OpenRoom(context.WithoutCancel(ctx), room)
	})
}

// Heads implements store.Store.
func (r Remote) Heads(ctx context.Context, rooms []string) (map[string]int64, error) {
	return sim.Call(ctx, r.Link, "rooms/Heads", func() (map[string]int64, error) {
		return r.Store.Heads(context.WithoutCancel(ctx), rooms)
	})
}

// Accept implements store.Store.
func (r Remote) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	sent := append([]store.Send(nil), sends...) // the caller may be done with them when a late call is done
	receipts, err := sim.Call(ctx, r.Link, "rooms/Accept", func() ([]store.Receipt, error) {
		return r.Store.Accept(context.WithoutCancel(ctx), sent)
	})
	if errors.Is(err, sim.ErrLost) {
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return receipts, err
}

// Tail implements store.Store.
func (r Remote) Tail(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	return sim.Call(ctx, r.Link, "rooms/Tail", func() ([]events.MessageSent, error) {
		return r.Store.Tail(context.WithoutCancel(ctx), room, after, before, limit)
	})
}
