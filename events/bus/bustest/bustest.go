// Package bustest is the conformance suite of bus.Transport: what the services rely on, on every transport.
package bustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// Env is a fresh transport and what the suite must know about it.
type Env struct {
	Transport bus.Transport
	// Waits tells that events wait while there is no consumer. Without it, publishing them fails then.
	Waits bool
	// Dead returns what is in the dead letters now.
	Dead func(tb testing.TB) []DeadLetter
}

// DeadLetter is a message in the poison queue.
type DeadLetter struct {
	ID      string
	Headers map[string]string
	Body    []byte
}

// Run runs the suite. open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Env) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, Env)
	}{
		{"DurableHandOver", handOver},
		{"RedeliveryAfterNack", redeliveryAfterNack},
		{"OrderKeptByOneSubscriber", order},
		{"AbsentConsumerMeansNoLoss", absentConsumer},
		{"CleanStopAcksWhatIsInFlight", cleanStop},
		{"StopPoisonsNothing", stopPoisonsNothing},
		{"PermanentErrorAloneOutOfABatch", permanentAlone},
		{"UnreadableMessageIsPoison", unreadable},
		{"PoisonOfAnySizeIsPutAway", oversized},
		{"OutageIsRetriedAndNeverPoisoned", outage},
		{"PanicIsRetriedAndNeverPoisoned", panics},
		{"BacklogTravelsInBatches", batches},
		{"FailedWindowComesAgain", failedWindow},
		{"StoppedRelayLeavesPublisherOpen", sharedPublisher},
		{"FanoutReachesEveryInstance", fanout},
		{"ClosedTransportRefuses", closed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := open(t)
			t.Cleanup(func() {
				if err := e.Transport.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, e)
		})
	}
}

// fast makes retries and delays short.
func fast() bus.Options {
	return bus.Options{
		Handlers: 2, InFlight: 4, Retries: 2,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, NackDelay: 5 * time.Millisecond,
	}
}

// within bounds every wait of the suite.
const within = time.Minute

// MessageSent makes the encoded event of a room's seq.
func MessageSent(tb testing.TB, room string, seq int64) []byte {
	tb.Helper()
	raw, err := events.MessageSent{
		Room: room, Seq: seq, Kind: events.KindMessage, ID: fmt.Sprint("id-", room, "-", seq),
		From: "ann", Text: "hello", SentAt: time.UnixMilli(1_700_000_000_000).UTC(),
	}.Encode("")
	if err != nil {
		tb.Fatalf("encode: %v", err)
	}
	return raw
}

// Rows makes outbox rows for the seqs from first to last.
func Rows(tb testing.TB, room string, first, last int64) []outbox.Row {
	tb.Helper()
	var rows []outbox.Row
	for seq := first; seq <= last; seq++ {
		rows = append(rows, outbox.Row{Shard: events.Shard(room), Key: room, Seq: seq, Payload: MessageSent(tb, room, seq)})
	}
	return rows
}

// Source is a bus.Source over a channel: each window is given again until it is done.
type Source struct {
	Windows chan outbox.Window
	Dones   chan outbox.Window
	Fails   chan error

	mu    sync.Mutex
	again *outbox.Window
}

// NewSource makes a source with room for n windows.
func NewSource(n int) *Source {
	return &Source{Windows: make(chan outbox.Window, n), Dones: make(chan outbox.Window, n), Fails: make(chan error, 1000)}
}

// Next returns the window that failed last, or the next one.
func (s *Source) Next(ctx context.Context) (outbox.Window, error) {
	s.mu.Lock()
	again := s.again
	s.again = nil
	s.mu.Unlock()
	if again != nil {
		return *again, nil
	}
	select {
	case w := <-s.Windows:
		return w, nil
	case <-ctx.Done():
		return outbox.Window{}, ctx.Err()
	}
}

// Done reports the window.
func (s *Source) Done(_ context.Context, w outbox.Window) error {
	s.Dones <- w
	return nil
}

// Failed keeps the window for Next.
func (s *Source) Failed(w outbox.Window, err error) {
	s.mu.Lock()
	s.again = &w
	s.mu.Unlock()
	select {
	case s.Fails <- err:
	default:
	}
}

// Start runs f until the test ends or stop is called; f must return nil then.
func Start(t *testing.T, what string, f func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			case <-time.After(within):
				t.Errorf("%s did not stop", what)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// Consume runs a consumer.
func Consume(t *testing.T, tr bus.Transport, o bus.Options, handle func(context.Context, []bus.Delivery) []error) (stop func()) {
	t.Helper()
	stop = Start(t, "consumer", func(ctx context.Context) error { return bus.RunConsumer(ctx, tr, handle, o) })
	return stop
}

// Relay runs a relay over src.
func Relay(t *testing.T, tr bus.Transport, src bus.Source) (stop func()) {
	t.Helper()
	return Start(t, "relay", func(ctx context.Context) error { return bus.RunRelay(ctx, tr, src, fast()) })
}

// Await receives from c, or fails the test.
func Await[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(within):
		tb.Fatalf("no %s within %v", what, within)
		panic("unreachable")
	}
}

// recorder is a handler that notes what it got; answer decides about each event.
type recorder struct {
	answer func(m events.MessageSent, times int) error

	mu    sync.Mutex
	times map[int64]int // by seq
	good  chan int64
}

func newRecorder(answer func(m events.MessageSent, times int) error) *recorder {
	if answer == nil {
		answer = func(events.MessageSent, int) error { return nil }
	}
	return &recorder{answer: answer, times: make(map[int64]int), good: make(chan int64, 10_000)}
}

func (r *recorder) handle(_ context.Context, ds []bus.Delivery) []error {
	errs := make([]error, len(ds))
	for i, d := range ds {
		m, err := events.DecodeMessageSent(d.Raw)
		if err != nil {
			errs[i] = err
			continue
		}
		r.mu.Lock()
		r.times[m.Seq]++
		times := r.times[m.Seq]
		r.mu.Unlock()
		if errs[i] = r.answer(m, times); errs[i] == nil {
			r.good <- m.Seq
		}
	}
	return errs
}

// await waits until all seqs from first to last were handled well.
func (r *recorder) await(t *testing.T, first, last int64) {
	t.Helper()
	missing := make(map[int64]bool)
	for seq := first; seq <= last; seq++ {
		missing[seq] = true
	}
	for len(missing) > 0 {
		delete(missing, Await(t, fmt.Sprintf("event (%d missing)", len(missing)), r.good))
	}
}

func (r *recorder) count(seq int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[seq]
}

var errOutage = errors.New("database away")

func bodyOf(tb testing.TB, raw []byte) events.MessageSent {
	tb.Helper()
	m, err := events.DecodeMessageSent(json.RawMessage(raw))
	if err != nil {
		tb.Fatalf("decode: %v", err)
	}
	return m
}
