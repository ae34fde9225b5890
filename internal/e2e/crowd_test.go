package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// receipt is what a sender was told.
type receipt struct {
	from, id, text string
	seq            int64
}

// crowd sends each messages by each of senders to one room, all at once, and retries until every one is accepted. It
// returns what was accepted. addrs are used in turn.
func crowd(tb testing.TB, room string, senders, each int, progress *atomic.Int64, addrs ...string) []receipt {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var all []receipt
	var wg sync.WaitGroup
	for n := range senders {
		wg.Go(func() {
			name := fmt.Sprintf("sender-%d", n)
			err := withClient(ctx, "ws://"+addrs[n%len(addrs)], name, func(c *client.Client) error {
				c.Join(room, nil)
				var sendings []*client.Sending
				for i := range each {
					s, err := c.Submit(ctx, room, fmt.Sprintf("%s says %d", name, i), fmt.Sprintf("%s/%d", name, i))
					if err != nil {
						return err
					}
					sendings = append(sendings, s)
				}
				for i, s := range sendings {
					a, err := s.Wait(ctx)
					if err != nil {
						return fmt.Errorf("message %d: %w", i, err)
					}
					progress.Add(1)
					mu.Lock()
					all = append(all, receipt{name, a.ID, fmt.Sprintf("%s says %d", name, i), a.Seq})
					mu.Unlock()
				}
				return nil
			})
			if err != nil {
				tb.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	return all
}

// withClient runs f with a client that is running.
func withClient(ctx context.Context, server, name string, f func(*client.Client) error) error {
	c, err := client.New(client.Options{
		Server: server, Name: name, AnswerTimeout: 10 * time.Second,
		Backoff: func(int) time.Duration { return 100 * time.Millisecond },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) }) // its end shows in f
	defer wg.Wait()
	defer cancel()
	return f(c)
}

// mustMatch checks that a room's log holds exactly what was accepted: each message once, where its sender was told, and
// the seqs 1 to n.
func mustMatch(tb testing.TB, accepted []receipt, log []frame.Event) {
	tb.Helper()
	type key struct{ from, id string }
	told := make(map[key]receipt, len(accepted))
	for _, r := range accepted {
		if other, twice := told[key{r.from, r.id}]; twice {
			tb.Fatalf("%s accepted twice: as %d and %d", r.id, r.seq, other.seq)
		}
		told[key{r.from, r.id}] = r
	}
	for i, e := range log {
		if e.Seq != int64(i+1) {
			tb.Fatalf("seq %d stands where %d should", e.Seq, i+1)
		}
		r, ok := told[key{e.From, e.ID}]
		if !ok {
			tb.Fatalf("seq %d, %s of %s: nobody was told, or it stands twice", e.Seq, e.ID, e.From)
		}
		if r.seq != e.Seq || r.text != e.Text {
			tb.Fatalf("%s: told seq %d %q, the log has %d %q", e.ID, r.seq, r.text, e.Seq, e.Text)
		}
		delete(told, key{e.From, e.ID})
	}
	if len(told) > 0 {
		tb.Fatalf("%d of %d accepted messages are lost", len(told), len(accepted))
	}
}

// storedLog waits until n events of a room are stored and returns them from the persister's table.
func (s *split) storedLog(room string, n int, within time.Duration) (log []frame.Event) {
	s.tb.Helper()
	eventually(s.tb, within, fmt.Sprintf("%d events of %s stored", n, room), func() error {
		got, err := s.count(`SELECT count(*) FROM persister.messages WHERE room = $1`, room)
		if err == nil && got != int64(n) {
			err = fmt.Errorf("%d are", got)
		}
		return err
	})
	err := s.query(func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT seq, kind, id, sender, sent_at, body FROM persister.messages WHERE room = $1 ORDER BY seq`, room)
		if err != nil {
			return err
		}
		var e frame.Event
		_, err = pgx.ForEachRow(rows, []any{&e.Seq, &e.Kind, &e.ID, &e.From, &e.SentAt, &e.Text}, func() error {
			log = append(log, e)
			return nil
		})
		return err
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return log
}

// outboxEmpties waits until every row was announced stored and removed.
func (s *split) outboxEmpties() {
	s.tb.Helper()
	eventually(s.tb, time.Minute, "outbox empty", func() error {
		n, err := s.count(`SELECT count(*) FROM chatroom.outbox`)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d rows left", n)
		}
		return err
	})
}

// readAll joins a room from its start and reads n events.
func readAll(tb testing.TB, addr, room string, n int64) []frame.Event {
	tb.Helper()
	w := hello(tb, addr, "reader")
	defer w.conn.Close()
	if j := w.join(room, 0); j.Head > n { // a replica may hear of the last events in a moment
		tb.Errorf("head: got %d, want %d", j.Head, n)
	}
	return w.events(room, 0, n)
}
