package persister_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

func TestStoreMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Database {
		s := &memory{}
		return storetest.Database{Open: func(testing.TB) persister.Store { return s }}
	})
}

// memory is a store without a database, for tests in virtual time.
type memory = storetest.Memory

// pass lets virtual time pass; only inside synctest.
func pass(d time.Duration) { <-time.After(d) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// encoded are the envelopes of events.
func encoded(tb testing.TB, evs []events.MessageSent) [][]byte {
	tb.Helper()
	raw := make([][]byte, len(evs))
	for i, e := range evs {
		var err error
		if raw[i], err = e.Encode(""); err != nil {
			tb.Fatal(err)
		}
	}
	return raw
}

// running starts a persister and returns the function that stops it and waits for it.
func running(tb testing.TB, p *persister.Persister) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v, want nil", err)
		}
	})
}

// stored fails unless a room holds exactly the events 1 to head.
func stored(tb testing.TB, s persister.Store, room string, head int64) {
	tb.Helper()
	if err := holds(s, room, head); err != nil {
		tb.Error(err)
	}
}

func holds(s persister.Store, room string, head int64) error {
	p, err := s.Page(context.Background(), persister.PageQuery{Room: room, Limit: 1_000_000, MaxBytes: math.MaxInt32})
	if err != nil {
		return err
	}
	if p.Watermark != head || int64(len(p.Events)) != head {
		return fmt.Errorf("%s has %d events under watermark %d, want %d", room, len(p.Events), p.Watermark, head)
	}
	for i, e := range p.Events {
		if want := storetest.Event(room, int64(i+1)); e != want {
			return fmt.Errorf("event %d is %+v, want %+v", i+1, e, want)
		}
	}
	return nil
}
