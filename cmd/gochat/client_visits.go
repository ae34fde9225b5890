package main

import (
	"context"
	"sync"

	"github.com/rafaeldepontes/go-chat/client"
)

// roomsAtOnce is how many rooms a sender is in. A server lets a connection be in some only (limits.rooms, 100 of ours), and a
// queue may hold messages to more.
const roomsAtOnce = 32

// visits keeps a client in the rooms of the messages that are on their way.
type visits struct {
	client *client.Client
	freed  chan struct{} // holds one token: nothing is on its way to some room any more

	mu  sync.Mutex
	way map[string]int // guarded by mu; messages on their way to each room that is joined
}

func newVisits(c *client.Client) *visits {
	return &visits{client: c, freed: make(chan struct{}, 1), way: map[string]int{}}
}

// enter counts a message on its way to a room, and joins it before. Where there are too many rooms it leaves one that is done
// with, or waits for one.
func (v *visits) enter(ctx context.Context, room string) error {
	for {
		entered, err := v.try(room)
		if entered || err != nil {
			return err
		}
		select {
		case <-v.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (v *visits) try(room string) (entered bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, in := v.way[room]; !in {
		if len(v.way) >= roomsAtOnce && !v.leaveOneLocked() {
			return false, nil
		}
		if err := v.client.Join(room, nil); err != nil {
			return false, err
		}
	}
	v.way[room]++
	return true, nil
}

func (v *visits) leaveOneLocked() bool {
	for room, n := range v.way {
		if n == 0 {
			v.client.Leave(room)
			delete(v.way, room)
			return true
		}
	}
	return false
}

// done tells that a message to a room is accepted or refused.
func (v *visits) done(room string) {
	v.mu.Lock()
	v.way[room]--
	free := v.way[room] == 0
	v.mu.Unlock()
	if free {
		select {
		case v.freed <- struct{}{}:
		default:
		}
	}
}
