package chatroom

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
)

// held accepts when it is let, and keeps nothing.
type held struct {
	instant
	let chan struct{}
}

func (s *held) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	<-s.let
	return s.instant.Accept(ctx, sends)
}

// Whatever a transaction holds is answered, and only then is anybody woken, the rooms' readers first: each connection gets its
// answers and the events in one write.
func TestAllAreAnsweredBeforeAnyIsWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		s := &held{let: make(chan struct{})}
		a := newAcceptor(s, slog.New(slog.DiscardHandler), newMetrics(nil), func(sends []store.Send, _ []store.Receipt) func() {
			seen = append(seen, fmt.Sprint("committed ", len(sends)))
			return func() { seen = append(seen, "readers woken") }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.run(ctx); close(ended) }()
		for i, room := range []string{"a", "a", "b", "a"} { // the first goes alone
			p := sendTo(room, i)
			p.done = func(store.Receipt, error) { seen = append(seen, "answered "+p.send.ID) }
			if i != 2 { // as a request over HTTP
				p.wake = func() { seen = append(seen, "woken "+p.send.ID) }
			}
			if err := a.submit(ctx, p); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		close(s.let)
		cancel()
		<-ended
		want := []string{
			"committed 1", "answered 0", "readers woken", "woken 0",
			"committed 3", "answered 1", "answered 3", "answered 2", "readers woken", "woken 1", "woken 3",
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("what happened (-want +got):\n%s", diff)
		}
	})
}
