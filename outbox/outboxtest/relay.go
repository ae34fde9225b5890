package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
)

func testRelayDrains(t *testing.T, b Backend) {
	const keys, perKey = 20, 50
	marks := map[string]int64{}
	for k := range keys {
		marks[fmt.Sprint("k", k)] = perKey
		b.mustAppend(t, rows(fmt.Sprint("k", k), 1, perKey/2)...)
	}
	r := newRelay(t, b, "a", func(o *outbox.Options) { o.Window = 64 })
	to := newBroker()
	start(t, r)
	pump(t, r, to)
	for k := range keys {
		b.mustAppend(t, rows(fmt.Sprint("k", k), perKey/2+1, perKey)...)
		r.Wake()
	}
	to.through(t, marks)
	to.check(t)
	eventually(t, "all rows are marked", func() bool { return b.mustStats(t).Unpublished == 0 })
	equal(t, "rows that stay until they are stored", b.mustStats(t).Unstored, int64(keys*perKey))
	r.Stored(marks)
	eventually(t, "stored rows go", func() bool { return b.mustStats(t).Unstored == 0 })
}

// A crash between publish and mark: the next relay publishes the window again.
func testRelayCrash(t *testing.T, b Backend) {
	b.mustAppend(t, rows("a", 1, 5)...)
	to := newBroker()
	first := newRelay(t, b, "a", nil)
	stop := start(t, first)
	w := mustNext(t, first)
	to.publish(w.Rows)
	stop()

	second := newRelay(t, b, "b", nil)
	start(t, second)
	again := mustNext(t, second)
	equal(t, "rows published again", names(again.Rows), names(w.Rows))
	to.publish(again.Rows)
	mustDone(t, second, again)
	mustDone(t, first, w) // the mark that came late does no harm
	equal(t, "waiting", b.mustStats(t).Unpublished, int64(0))
	to.check(t)
}

func testRelayFailed(t *testing.T, b Backend) {
	b.mustAppend(t, append(rows("a", 1, 5), rows("b", 1, 5)...)...)
	r := newRelay(t, b, "a", nil)
	start(t, r)
	w := mustNext(t, r)
	for range 2 {
		failed := time.Now()
		r.Failed(w, errors.New("the broker is away"))
		again := mustNext(t, r)
		equal(t, "rows handed out again", names(again.Rows), names(w.Rows))
		if waited := time.Since(failed); waited < 100*time.Millisecond {
			t.Errorf("handed out again after %v, want a backoff", waited)
		}
	}
	mustDone(t, r, w)
	b.mustAppend(t, row("a", 6))
	r.Wake()
	equal(t, "after success", names(mustNext(t, r).Rows), []string{"a/6"})
}

// The poll is an hour away, so only the wake-up can bring the row.
func testRelayWake(t *testing.T, b Backend) {
	r := newRelay(t, b, "a", nil)
	start(t, r)
	to := newBroker()
	pump(t, r, to)
	b.mustAppend(t, row("a", 1))
	r.Wake()
	to.through(t, map[string]int64{"a": 1})
	for seq := int64(2); seq <= 20; seq++ {
		b.mustAppend(t, row("a", seq))
		r.Wake()
		to.through(t, map[string]int64{"a": seq})
	}
	to.check(t)
}

func testRelayPoll(t *testing.T, b Backend) {
	r := newRelay(t, b, "a", func(o *outbox.Options) { o.Poll = 20 * time.Millisecond })
	start(t, r)
	to := newBroker()
	pump(t, r, to)
	for seq := int64(1); seq <= 5; seq++ {
		b.mustAppend(t, row("a", seq)) // and nobody calls Wake
		to.through(t, map[string]int64{"a": seq})
	}
	to.check(t)
}

// The broker loses everything that was published and not consumed. Rows that were never announced come again.
func testRelayWipe(t *testing.T, b Backend) {
	var stored atomic.Int64 // what the consumer has of key a
	r := newRelay(t, b, "a", func(o *outbox.Options) {
		o.RepublishAfter = 150 * time.Millisecond
		o.Watermarks = func(context.Context, []string) (map[string]int64, error) {
			return map[string]int64{"a": stored.Load()}, nil
		}
	})
	b.mustAppend(t, rows("a", 1, 10)...)
	start(t, r)
	to := newBroker()
	pump(t, r, to)
	to.through(t, map[string]int64{"a": 10})
	stored.Store(4)
	r.Stored(map[string]int64{"a": 4})
	b.mustAppend(t, row("a", 11))
	r.Wake()
	// The lost rows 5 to 10, and whatever else had no announcement.
	eventually(t, "lost rows come again", func() bool { return to.times("a", 5) > 1 && to.times("a", 10) > 1 })
	stored.Store(11)
	eventually(t, "the sweep removes what is stored", func() bool { return b.mustStats(t).Unstored == 0 })
	to.check(t)
}

// A relay takes a window and is paused beyond its lease. Another takes over; then the first goes on with its old window.
func testRelayPaused(t *testing.T, b Backend) {
	const ttl = time.Second // a third of it is what one lease may take, on a slow disk too
	to := newBroker()
	b.mustAppend(t, rows("a", 1, 10)...)
	paused := newRelay(t, b, "paused", func(o *outbox.Options) { o.LeaseTTL, o.Window = ttl, 5 })
	stop := start(t, paused)
	w := mustNext(t, paused)
	stop()
	// A relay that is ended gives its shards up; one that is paused does not. So it holds them again, and nobody renews.
	b.mustLease(t, "paused", ttl)

	other := newRelay(t, b, "other", func(o *outbox.Options) { o.LeaseTTL, o.Window = ttl, 5 })
	start(t, other)
	pump(t, other, to)
	to.through(t, map[string]int64{"a": 10})
	b.mustAppend(t, rows("a", 11, 20)...)
	to.publish(w.Rows) // the paused one wakes up in the middle
	mustDone(t, paused, w)
	other.Wake()
	to.through(t, map[string]int64{"a": 20})
	to.check(t)
	eventually(t, "all rows are marked", func() bool { return b.mustStats(t).Unpublished == 0 })
	equal(t, "nothing is lost", b.mustStats(t).Unstored, int64(20))
	equal(t, "published twice", to.times("a", 1), 2)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := paused.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next without shards: got %v, want context.Canceled", err)
	}
}

func testRelayForeignMarks(t *testing.T, b Backend) {
	b.mustLease(t, "other", long)
	// A third of it is what one lease may take, on a slow disk too.
	r := newRelay(t, b, "late", func(o *outbox.Options) { o.LeaseTTL = 2 * time.Second })
	start(t, r)
	mine, foreign := "", ""
	b.mustAppend(t, append(rows("a", 1, 3), append(rows("b", 1, 3), rows("c", 1, 3)...)...)...)
	// The other gives up half of its shards, and this one takes them.
	half := b.mustLease(t, "other", long)
	eventually(t, "two owners", func() bool {
		half = b.mustLease(t, "other", long)
		return len(half) == Shards/2
	})
	owned := map[int]bool{}
	for _, s := range half {
		owned[s] = true
	}
	for i := 0; mine == "" || foreign == ""; i++ {
		key := fmt.Sprint("key", i)
		if owned[outbox.ShardOf(key, Shards)] {
			foreign = key
		} else {
			mine = key
		}
	}
	b.mustAppend(t, append(rows(mine, 1, 2), rows(foreign, 1, 2)...)...)
	marks := map[string]int64{mine: 2, foreign: 2}
	eventually(t, "own rows go", func() bool {
		r.Stored(marks)
		return len(b.mustFetch(t, []int{outbox.ShardOf(mine, Shards)}, 1024)) == countOf(marks, mine, b, t)
	})
	left := names(b.mustFetch(t, []int{outbox.ShardOf(foreign, Shards)}, 1024))
	want := []string{foreign + "/1", foreign + "/2"}
	equal(t, "rows of the other's key", left[len(left)-2:], want)
}

// countOf counts the rows of other keys that share the shard of key.
func countOf(marks map[string]int64, key string, b Backend, t *testing.T) int {
	t.Helper()
	n := 0
	for _, r := range b.mustFetch(t, []int{outbox.ShardOf(key, Shards)}, 1024) {
		if _, marked := marks[r.Key]; !marked {
			n++
		}
	}
	return n
}

func testRelaySweepAsks(t *testing.T, b Backend) {
	asked := make(chan []string, 100)
	r := newRelay(t, b, "a", func(o *outbox.Options) {
		o.RepublishAfter = 60 * time.Millisecond
		o.Watermarks = func(_ context.Context, keys []string) (map[string]int64, error) {
			asked <- keys
			marks := map[string]int64{}
			for _, key := range keys {
				marks[key] = 3
			}
			return marks, nil
		}
	})
	b.mustAppend(t, append(rows("a", 1, 3), rows("b", 1, 3)...)...)
	b.mustMark(t, append(rows("a", 1, 3), rows("b", 1, 3)...)...)
	start(t, r)
	eventually(t, "stored rows go", func() bool { return b.mustStats(t).Unstored == 0 })
	about := map[string]bool{} // rows become due one after the other, so that one sweep may find the first key only
	for len(about) < 2 {
		for _, key := range <-asked {
			about[key] = true
		}
	}
	equal(t, "keys asked about", about, map[string]bool{"a": true, "b": true})
	equal(t, "rows published again", b.mustStats(t).Unpublished, int64(0))
}

func testRelayReleases(t *testing.T, b Backend) {
	first := newRelay(t, b, "a", nil)
	stop := start(t, first)
	b.mustAppend(t, row("a", 1))
	mustNext(t, first)
	stop()
	equal(t, "shards of the next", b.mustLease(t, "b", long), all())
}
