package chatroom

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
)

// instant accepts at once and keeps nothing, so that what is measured is the acceptor's own. It lets the senders run
// meanwhile, as waiting for a database does.
type instant struct {
	store.Store
	seq int64
}

func (s *instant) Accept(_ context.Context, sends []store.Send) ([]store.Receipt, error) {
	runtime.Gosched()
	receipts := make([]store.Receipt, len(sends))
	for i := range receipts {
		s.seq++
		receipts[i] = store.Receipt{Seq: s.seq, SentAt: sends[i].SentAt}
	}
	return receipts, nil
}

// BenchmarkAcceptor is senders with one message in flight each, over a database that needs no time: what batching costs,
// in time and allocations for each message.
func BenchmarkAcceptor(b *testing.B) {
	for _, senders := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%d senders", senders), func(b *testing.B) {
			batches := 0
			a := newAcceptor(&instant{}, slog.New(slog.DiscardHandler), newMetrics(nil), func([]store.Send, []store.Receipt) func() {
				batches++
				return func() {}
			})
			ctx, cancel := context.WithCancel(b.Context())
			var run, all sync.WaitGroup
			run.Go(func() { a.run(ctx) })
			b.ReportAllocs()
			b.ResetTimer()
			for s := range senders {
				all.Go(func() {
					answered := make(chan error, 1)
					p := pending{send: store.Send{Sender: "ann", ID: "id", Room: "ops", Text: "on it"}, done: func(_ store.Receipt, err error) { answered <- err }}
					for n := s; n < b.N; n += senders {
						if err := a.submit(ctx, p); err != nil {
							b.Error(err)
							return
						}
						if err := <-answered; err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			cancel()
			run.Wait()
			b.ReportMetric(float64(b.N)/float64(max(batches, 1)), "messages/batch")
		})
	}
}
