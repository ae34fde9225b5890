package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// fullSpeed sends to a room as fast as it can until stop is called, which returns how many were accepted.
func fullSpeed(t *testing.T, addr, room, name string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		err := withClient(context.Background(), "ws://"+addr, name, func(c *client.Client) error {
			c.Join(room, nil)
			var all []*client.Sending
			for i := 0; ctx.Err() == nil; i++ {
				s, err := c.Submit(context.Background(), room, fmt.Sprintf("text %d", i), fmt.Sprintf("%s/%d", name, i))
				if err != nil {
					return err
				}
				all = append(all, s)
				if len(all) > 64 { // bounded, or the run would have no end to wait for
					if _, err := all[len(all)-64].Wait(context.Background()); err != nil {
						return err
					}
				}
			}
			for _, s := range all {
				if _, err := s.Wait(context.Background()); err != nil {
					return err
				}
			}
			n = len(all)
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return func() int {
		cancel()
		wg.Wait()
		return n
	}
}

// Two clients join while two others send at full speed, 100 times over, a few at a time: nobody sees a gap, a duplicate or
// another order.
func TestAReaderNeverHasAGap(t *testing.T) {
	t.Parallel()
	const rounds, pairs = 25, 4
	story := func(t *testing.T, senders, readers [2]string) {
		stopA, stopB := fullSpeed(t, senders[0], "r", "a"), fullSpeed(t, senders[1], "r", "b")
		head := int64(0)
		for i := range rounds {
			var wg sync.WaitGroup
			heads := [2 * pairs]int64{}
			for n := range heads {
				after := int64(-1)
				if n%2 == 1 {
					after = max(0, head-rand.Int64N(300))
				}
				wg.Go(func() {
					w := hello(t, readers[n/2%2], fmt.Sprintf("reader-%d-%d", i, n))
					defer w.conn.Close()
					j := w.join("r", after)
					from := after
					if after < 0 {
						from = max(0, j.Head-frame.DefaultTail)
					}
					heads[n] = j.Head + 60
					w.events("r", from, heads[n])
				})
			}
			wg.Wait()
			if t.Failed() {
				break
			}
			head = slices.Max(heads[:])
		}
		total := int64(stopA() + stopB())
		t.Logf("%d events", total)
		if log := readAll(t, readers[0], "r", total); int64(len(log)) != total {
			t.Errorf("got %d events, want %d", len(log), total)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		p := embedded(t, "--send-rate", "0", "--recent-events", "128")
		story(t, [2]string{p.addr, p.addr}, [2]string{p.addr, p.addr})
	})
	t.Run("two chat rooms and two persisters", func(t *testing.T) {
		t.Parallel()
		s := newSplit(t, brokerURL())
		s.persister()
		s.morePersister()
		a, b := s.chatroom("--send-rate", "0", "--recent-events", "128"), s.chatroom("--send-rate", "0", "--recent-events", "128")
		story(t, [2]string{a.addr, b.addr}, [2]string{a.addr, b.addr})
	})
}

// A reader that does not read costs the others nothing. When it reads on, or comes again after the server gave it up, it
// misses nothing.
func TestASlowReaderHarmsNobody(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, addr string) {
		const n = 2000 // 8 MB, more than a socket takes
		slow := hello(t, addr, "slow")
		slow.join("r", 0)
		ann := hello(t, addr, "ann")
		ann.join("r", -1)
		big := strings.Repeat("x", 4000)
		for i := range n {
			ann.say(`{"type":"send","id":"%d","room":"r","text":%q}`, i, big)
			if i%50 == 49 { // nobody waits for the slow one
				ann.answer(fmt.Sprint(i))
			}
		}
		ann.events("r", 0, n)

		last, comings := int64(0), 0
		for last < n {
			f, err := slow.read()
			if err != nil {
				if comings++; comings > 3 {
					t.Fatalf("after %d events: %v", last, err)
				}
				slow = hello(t, addr, "slow")
				slow.join("r", last)
				continue
			}
			for _, e := range f.Events {
				if e.Seq != last+1 || e.Text != big {
					t.Fatalf("got seq %d after %d", e.Seq, last)
				}
				last = e.Seq
			}
		}
	}, "--send-rate", "0", "--recent-events", "100")
}

// Senders on two replicas, readers on both: all see the same messages under the same seqs.
func TestOneSeqOrderForEveryone(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	s.persister()
	a, b := s.chatroom("--send-rate", "0"), s.chatroom("--send-rate", "0")
	const senders, each = 8, 100
	readers := make([]*wire, 4)
	for i := range readers {
		readers[i] = hello(t, []string{a.addr, b.addr}[i%2], fmt.Sprintf("reader-%d", i))
		readers[i].join("r", 0)
	}
	var progress atomic.Int64
	told := crowd(t, "r", senders, each, &progress, a.addr, b.addr)
	for _, w := range readers {
		mustMatch(t, told, w.events("r", 0, senders*each))
	}
	mustMatch(t, told, s.storedLog("r", senders*each, time.Minute))
}

// Members, typing and messages cross from one replica to the other; a replica that dies is forgotten.
func TestTwoChatRoomsAreOne(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	s.persister()
	a, b := s.chatroom(), s.chatroom()
	ann, bob := hello(t, a.addr, "ann"), hello(t, b.addr, "bob")
	ann.join("r", -1)
	eventually(t, 20*time.Second, "bob sees ann", func() error {
		if j := bob.join("r", 0); len(j.Members) == 0 || j.Members[0] != "ann" {
			return fmt.Errorf("members: %v", j.Members)
		}
		return nil
	})
	ann.next("bob's coming", func(f frame.Server) bool { return f.Type == "presence" && slices.Contains(f.Joined, "bob") })
	ann.send("r", "1", "from a")
	bob.events("r", 0, 1)
	bob.send("r", "1", "from b")
	ann.events("r", 0, 2)
	bob.say(`{"type":"typing","room":"r"}`)
	if f := ann.wait("typing"); f.From != "bob" {
		t.Errorf("typing: %+v", f)
	}
	ann.stored("r", 2)
	if code := b.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	ann.next("bob's leave", func(f frame.Server) bool { return f.Type == "presence" && slices.Contains(f.Left, "bob") })
}
