package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// handler handles the events of one message of the queue.
type handler = func(ctx context.Context, raw [][]byte) []error

// disturbedFor bounds how long a disturbed delivery is held back; others overtake it meanwhile.
const disturbedFor = 300 * time.Millisecond

var errDisturbed = errors.New("disturbed on purpose")

func declareDisturb(s *config.Set) func(handler) handler {
	share := s.Float("disturb", 0, "for tests: the share of deliveries, 0 to 1, that are late, handled twice, or given back to the queue though they were stored",
		config.Check(checkShare))
	return func(h handler) handler {
		if *share == 0 {
			return h
		}
		return disturbed(h, *share)
	}
}

func checkShare(text string) error {
	if share, err := strconv.ParseFloat(text, 64); err != nil || !(share >= 0 && share <= 1) {
		return fmt.Errorf("want a number from 0 to 1, not %q", text)
	}
	return nil
}

// disturbed does to some deliveries what a broker may do to any: it brings them late and so in another order, again while
// they are in work, or again after they were stored.
func disturbed(h handler, share float64) handler {
	return func(ctx context.Context, raw [][]byte) []error {
		if rand.Float64() >= share {
			return h(ctx, raw)
		}
		switch rand.N(3) {
		case 0:
			select {
			case <-time.After(rand.N(disturbedFor)):
			case <-ctx.Done():
			}
			return h(ctx, raw)
		case 1:
			twice := make(chan []error, 1)
			go func() { twice <- h(ctx, raw) }()
			errs := h(ctx, raw)
			<-twice
			return errs
		default:
			errs := h(ctx, raw)
			for i := range errs {
				if errs[i] == nil {
					errs[i] = errDisturbed
				}
			}
			return errs
		}
	}
}
