package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
)

// atOnce runs f n times behind a start barrier, and fails the test on an error.
func atOnce(tb testing.TB, n int, f func(ctx context.Context, i int) error) {
	tb.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(tb.Context(), i)
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
}

func pick(a, b store.Store, i int) store.Store {
	if i%2 == 0 {
		return a
	}
	return b
}

// concurrentSenders sends to one hot room and many cold ones from many goroutines over two replicas, each message twice.
// Afterwards every room is dense, every message is there once, and every receipt tells the truth.
func concurrentSenders(t replicas) {
	a, b := t.a, t.b
	const senders, batches, size, rooms = 8, 6, 20, 20
	type at struct {
		room string
		seq  int64
	}
	var mu sync.Mutex
	told := map[string]at{} // by sender/id
	atOnce(t, senders, func(ctx context.Context, i int) error {
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		for n := range batches {
			var sends []store.Send
			for m := range size {
				room := "hot"
				if rnd.IntN(2) == 0 {
					room = fmt.Sprint("cold", rnd.IntN(rooms))
				}
				id := fmt.Sprint(n, "-", m)
				sends = append(sends, send(fmt.Sprint("sender", i), id, room, fmt.Sprint(i, " ", id)))
			}
			for range 2 { // the second time over the other replica, in another order
				receipts, err := pick(a, b, rnd.IntN(2)).Accept(ctx, sends)
				if err != nil {
					return err
				}
				mu.Lock()
				for j, r := range receipts {
					k, v := sends[j].Sender+"/"+sends[j].ID, at{sends[j].Room, r.Seq}
					was, again := told[k]
					if r.Err != nil || again != r.Duplicate || (again && was != v) {
						mu.Unlock()
						return fmt.Errorf("%s: got %+v in %s, was told %+v before", k, r, sends[j].Room, was)
					}
					told[k] = v
				}
				mu.Unlock()
				rnd.Shuffle(len(sends), func(x, y int) { sends[x], sends[y] = sends[y], sends[x] })
			}
		}
		return nil
	})
	names := []string{"hot"}
	for i := range rooms {
		names = append(names, fmt.Sprint("cold", i))
	}
	total := 0
	for _, room := range names {
		for _, e := range mustLog(t, a, room) {
			if got, want := (at{room, e.Seq}), told[e.From+"/"+e.ID]; got != want {
				t.Fatalf("%s/%s stands at %+v, its sender was told %+v", e.From, e.ID, got, want)
			}
			total++
		}
	}
	if want := senders * batches * size; total != want {
		t.Errorf("%d events are committed, want %d", total, want)
	}
}

// racedDuplicates: a client that reconnected to another replica retries what the first replica is committing.
func racedDuplicates(t replicas) {
	a, b := t.a, t.b
	for round := range 20 {
		room := fmt.Sprint("room", round%2)
		got := make([]store.Receipt, 6)
		atOnce(t, len(got), func(ctx context.Context, i int) error {
			r, err := pick(a, b, i).Accept(ctx, []store.Send{send("ann", strconv.Itoa(round), room, "one")})
			if err == nil {
				got[i] = r[0]
			}
			return err
		})
		fresh := 0
		for _, r := range got {
			if r.Err != nil || r.Seq != got[0].Seq {
				t.Fatalf("got %+v, want one seq", got)
			}
			if !r.Duplicate {
				fresh++
			}
		}
		if fresh != 1 {
			t.Fatalf("got %+v, want all but one to be duplicates", got)
		}
	}
	if n, m := len(mustLog(t, a, "room0")), len(mustLog(t, b, "room1")); n != 10 || m != 10 {
		t.Errorf("got %d and %d events, want 10 and 10", n, m)
	}
}

// racedRooms: the room locks do not meet here, so the unique key alone decides.
func racedRooms(t replicas) {
	a, b := t.a, t.b
	for round := range 20 {
		got := make([]store.Receipt, 4)
		atOnce(t, len(got), func(ctx context.Context, i int) error {
			r, err := pick(a, b, i).Accept(ctx, []store.Send{
				send("ann", strconv.Itoa(round), fmt.Sprint("room", i), "one"), send("ann", fmt.Sprint(round, "-", i), fmt.Sprint("room", i), "beside it"),
			})
			if err == nil {
				got[i] = r[0]
				err = r[1].Err
			}
			return err
		})
		accepted := 0
		for _, r := range got {
			switch {
			case r.Err == nil && !r.Duplicate:
				accepted++
			case !errors.Is(r.Err, store.ErrIDConflict):
				t.Errorf("got %+v, want id conflicts", r)
			}
		}
		if accepted != 1 {
			t.Fatalf("got %+v, want one accepted", got)
		}
	}
	for i := range 4 {
		mustLog(t, a, fmt.Sprint("room", i))
	}
}

// oppositeOrder has batches that name the same rooms in opposite orders; locks taken in the order of the batch would
// deadlock at once.
func oppositeOrder(t replicas) {
	a, b := t.a, t.b
	const workers, batches, rooms = 8, 10, 12
	atOnce(t, workers, func(ctx context.Context, i int) error {
		for n := range batches {
			var sends []store.Send
			for r := range rooms {
				sends = append(sends, send(fmt.Sprint("sender", i), fmt.Sprint(n, "-", r), fmt.Sprint("room", r), "x"))
			}
			if i%2 == 0 {
				slices.Reverse(sends)
			}
			if _, err := pick(a, b, i).Accept(ctx, sends); err != nil {
				return err
			}
		}
		return nil
	})
	for r := range rooms {
		if n := len(mustLog(t, a, fmt.Sprint("room", r))); n != workers*batches {
			t.Errorf("room%d has %d events, want %d", r, n, workers*batches)
		}
	}
}

// oppositeKeys has batches for rooms of their own that use the same idempotency keys in opposite orders.
func oppositeKeys(t replicas) {
	a, b := t.a, t.b
	const workers, keys = 4, 400
	for i := range workers { // so that the batches meet at their keys, not while they make rooms
		mustAccept(t, a, send("bob", strconv.Itoa(i), fmt.Sprint("room", i), "first"))
	}
	for round := range 5 {
		var mu sync.Mutex
		accepted := 0
		atOnce(t, workers, func(ctx context.Context, i int) error {
			var sends []store.Send
			for k := range keys {
				sends = append(sends, send("ann", fmt.Sprint(round, "-", k), fmt.Sprint("room", i), "x"))
			}
			if i%2 == 0 {
				slices.Reverse(sends)
			}
			receipts, err := pick(a, b, i).Accept(ctx, sends)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range receipts {
				if r.Err == nil {
					accepted++
				}
			}
			return err
		})
		if accepted != keys {
			t.Fatalf("%d were accepted, want %d: each key once", accepted, keys)
		}
	}
}

// racedMissingRooms: many first messages to the same new rooms at once.
func racedMissingRooms(t replicas) {
	a, b := t.a, t.b
	const workers, rooms = 8, 20
	atOnce(t, workers, func(ctx context.Context, i int) error {
		var sends []store.Send
		for r := range rooms {
			sends = append(sends, send(fmt.Sprint("sender", i), strconv.Itoa(r), fmt.Sprint("room", r), "x"))
		}
		if i%2 == 0 {
			slices.Reverse(sends)
		}
		_, err := pick(a, b, i).Accept(ctx, sends)
		return err
	})
	for r := range rooms {
		if n := len(mustLog(t, b, fmt.Sprint("room", r))); n != workers {
			t.Errorf("room%d has %d events, want %d", r, n, workers)
		}
	}
}

// whileSending calls look again and again while senders write 160 events to room "ops", and once after.
func whileSending(tb testing.TB, a, b store.Store, look func(ctx context.Context) error) {
	tb.Helper()
	var senders sync.WaitGroup
	senders.Add(4)
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	atOnce(tb, 5, func(ctx context.Context, i int) error {
		if i == 4 {
			for {
				select {
				case <-done:
					return look(ctx)
				default:
					if err := look(ctx); err != nil {
						return err
					}
				}
			}
		}
		defer senders.Done()
		for n := range 40 {
			if _, err := pick(a, b, i).Accept(ctx, []store.Send{send(fmt.Sprint("sender", i), strconv.Itoa(n), "ops", "x")}); err != nil {
				return err
			}
		}
		return nil
	})
}

// readerSeesNoGap: seq order is commit order, so whoever reads sees a log without a hole at any moment, and it only grows.
func readerSeesNoGap(t replicas) {
	a, b := t.a, t.b
	var last int64
	whileSending(t, a, b, func(ctx context.Context) error {
		log, err := b.Tail(ctx, "ops", last, 0, 1000)
		for _, e := range log {
			if e.Seq != last+1 {
				return fmt.Errorf("seq %d follows %d", e.Seq, last)
			}
			last = e.Seq
		}
		return err
	})
	if last != 160 {
		t.Errorf("the reader came to %d, want 160", last)
	}
}

// headsAreCommitted: up to a head that was read, everything can be read.
func headsAreCommitted(t replicas) {
	a, b := t.a, t.b
	whileSending(t, a, b, func(ctx context.Context) error {
		heads, err := a.Heads(ctx, []string{"ops"})
		if err != nil {
			return err
		}
		head := heads["ops"]
		log, err := b.Tail(ctx, "ops", max(head-10, 0), head+1, 1000)
		if err == nil && int64(len(log)) != min(head, 10) {
			err = fmt.Errorf("head is %d, and %d of the last 10 events can be read", head, len(log))
		}
		return err
	})
}
