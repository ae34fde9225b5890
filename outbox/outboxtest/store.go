package outboxtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// Random appends, windows, failures and repeats: whatever happens, a row is first handed out after all lower ones of its key.
func testOrderOfKey(t *testing.T, b Backend) {
	const perKey = 60
	rnd := rand.New(rand.NewPCG(1, 2))
	keys := []string{"a", "b", "c", "d", "e", "f", "g"}
	next, first := map[string]int64{}, map[string]int64{}
	handed := 0
	for handed < perKey*len(keys) {
		var batch []outbox.Row
		for _, k := range keys {
			for range rnd.IntN(6) {
				if next[k] < perKey {
					next[k]++
					batch = append(batch, row(k, next[k]))
				}
			}
		}
		b.mustAppend(t, batch...)
		window := b.mustFetch(t, all(), 1+rnd.IntN(40))
		last := map[string]int64{}
		for _, r := range window {
			if r.Seq <= last[r.Key] {
				t.Fatalf("%s/%d comes after %d in one window", r.Key, r.Seq, last[r.Key])
			}
			last[r.Key] = r.Seq
			if r.Seq > first[r.Key]+1 {
				t.Fatalf("%s/%d is handed out, and %d never was", r.Key, r.Seq, first[r.Key]+1)
			}
			if r.Seq == first[r.Key]+1 {
				first[r.Key]++
				handed++
			}
		}
		switch rnd.IntN(5) {
		case 0: // the window failed
		case 1: // some were published again later
			b.mustMark(t, window...)
			if _, err := b.Store.Republish(t.Context(), keys[rnd.IntN(len(keys))], rnd.Int64N(perKey), 3); err != nil {
				t.Fatal(err)
			}
		default:
			b.mustMark(t, window...)
		}
	}
}

func testOldestFirst(t *testing.T, b Backend) {
	b.mustAppend(t, row("a", 1))
	b.mustAppend(t, row("b", 1))
	b.mustAppend(t, row("a", 2), row("c", 7)) // a transaction's rows are equally old: of another key, in any order
	got := b.mustFetch(t, all(), 2)
	equal(t, "first two", names(got), []string{"a/1", "b/1"})
	equal(t, "shard", got[0].Shard, outbox.ShardOf("a", Shards))
	equal(t, "payload", string(got[0].Payload), "a/1")
	equal(t, "rows of one shard", names(b.mustFetch(t, []int{outbox.ShardOf("a", Shards)}, 10)), []string{"a/1", "a/2"})
	equal(t, "no shards", len(b.mustFetch(t, nil, 10)), 0)
	b.mustMark(t, got...)
	equal(t, "the rest", len(b.mustFetch(t, all(), 10)), 2)
}

func testFetchBytes(t *testing.T, b Backend) {
	const size = outbox.WindowBytes / 8
	var batch []outbox.Row
	for seq := range int64(20) {
		r := row("big", seq+1)
		r.Payload = bytes.Repeat([]byte{'x'}, size)
		batch = append(batch, r)
	}
	b.mustAppend(t, batch...)
	equal(t, "rows in a window", len(b.mustFetch(t, all(), 1024)), 8)

	huge := row("huge", 1)
	huge.Payload = bytes.Repeat([]byte{'x'}, outbox.WindowBytes+1)
	b.mustAppend(t, huge)
	got := b.mustFetch(t, []int{huge.Shard}, 1024)
	if huge.Shard == batch[0].Shard {
		t.Fatal("the keys must be of two shards")
	}
	equal(t, "a row above the bound", names(got), []string{"huge/1"})
}

func testRowStays(t *testing.T, b Backend) {
	b.mustAppend(t, rows("a", 1, 3)...)
	b.mustMark(t, b.mustFetch(t, all(), 10)...)
	equal(t, "unpublished", len(b.mustFetch(t, all(), 10)), 0)
	equal(t, "in the outbox", b.mustStats(t).Unstored, int64(3))
	b.mustRemove(t, map[string]int64{"a": 2}, 2)
	equal(t, "in the outbox", b.mustStats(t).Unstored, int64(1))
}

func testMarkRepeatable(t *testing.T, b Backend) {
	b.mustAppend(t, rows("a", 1, 2)...)
	b.mustMark(t, rows("a", 1, 1)...)
	b.mustMark(t, rows("a", 1, 1)...)
	b.mustMark(t, rows("gone", 1, 5)...)
	b.mustMark(t)
	equal(t, "the rest", names(b.mustFetch(t, all(), 10)), []string{"a/2"})
}

func testRemove(t *testing.T, b Backend) {
	b.mustAppend(t, append(rows("a", 1, 3), rows("b", 5, 7)...)...)
	b.mustMark(t, rows("a", 1, 1)...)
	b.mustRemove(t, nil, 0)
	b.mustRemove(t, map[string]int64{"a": 2, "b": 4, "none": 9}, 2) // published or not
	b.mustRemove(t, map[string]int64{"b": 99}, 3)
	equal(t, "the rest", names(b.mustFetch(t, all(), 10)), []string{"a/3"})
}

func testAppendTwice(t *testing.T, b Backend) {
	b.mustAppend(t, row("a", 1))
	if err := b.Append(t.Context(), []outbox.Row{row("b", 1), row("a", 1)}); err == nil {
		t.Error("Append of a row that exists: got nil, want an error")
	}
	equal(t, "rows", names(b.mustFetch(t, all(), 10)), []string{"a/1"})
}

func testUnstored(t *testing.T, b Backend) {
	unstored := func(shards []int, after string, olderThan time.Duration, limit int) []outbox.Lowest {
		t.Helper()
		got, err := b.Store.Unstored(t.Context(), shards, after, olderThan, limit)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, k := range []string{"a", "b", "c", "d"} {
		b.mustAppend(t, rows(k, 3, 5)...)
	}
	b.mustMark(t, append(rows("a", 3, 5), append(rows("b", 3, 4), rows("d", 3, 3)...)...)...)
	want := []outbox.Lowest{{Key: "a", Seq: 3}, {Key: "b", Seq: 3}, {Key: "d", Seq: 3}} // all of c waits
	equal(t, "all", unstored(all(), "", 0, 10), want)
	equal(t, "with a limit", unstored(all(), "", 0, 2), want[:2])
	equal(t, "after b", unstored(all(), "b", 0, 2), want[2:])
	equal(t, "of one shard", unstored([]int{outbox.ShardOf("b", Shards)}, "", 0, 10), want[1:2])
	equal(t, "of no shard", len(unstored(nil, "", 0, 10)), 0)
	equal(t, "older than an hour", len(unstored(all(), "", time.Hour, 10)), 0)
	b.mustRemove(t, map[string]int64{"a": 3, "b": 4}, 3)
	equal(t, "after removal", unstored(all(), "", 0, 10), []outbox.Lowest{{Key: "a", Seq: 4}, {Key: "d", Seq: 3}})
}

func testRepublish(t *testing.T, b Backend) {
	b.mustAppend(t, append(rows("a", 1, 6), rows("b", 1, 1)...)...)
	b.mustMark(t, append(rows("a", 1, 5), rows("b", 1, 1)...)...)
	for _, tc := range []struct{ after, limit, want int64 }{{1, 2, 2}, {1, 9, 2}, {9, 9, 0}} {
		n, err := b.Store.Republish(t.Context(), "a", tc.after, int(tc.limit))
		if err != nil || n != tc.want {
			t.Errorf("Republish(after %d, limit %d): got %d, %v, want %d", tc.after, tc.limit, n, err, tc.want)
		}
	}
	equal(t, "waiting", names(b.mustFetch(t, all(), 10)), []string{"a/2", "a/3", "a/4", "a/5", "a/6"})
}

func testOldest(t *testing.T, b Backend) {
	equal(t, "of an empty outbox", b.mustOldest(t, all()), time.Duration(0))
	b.mustAppend(t, rows("a", 1, 2)...)
	eventually(t, "the oldest row has an age", func() bool { return b.mustOldest(t, all()) > 0 })
	if oldest, since := b.mustOldest(t, all()), b.mustStats(t).Oldest; oldest > since {
		t.Errorf("got %v, and in the statistics after it %v", oldest, since)
	}
	others := slices.DeleteFunc(all(), func(shard int) bool { return shard == rows("a", 1, 1)[0].Shard })
	equal(t, "of the other shards", b.mustOldest(t, others), time.Duration(0))
	equal(t, "of no shard", b.mustOldest(t, nil), time.Duration(0))
	b.mustMark(t, rows("a", 1, 2)...)
	equal(t, "of published rows", b.mustOldest(t, all()), time.Duration(0))
}

func (b Backend) mustOldest(t *testing.T, shards []int) time.Duration {
	t.Helper()
	oldest, err := b.Store.Oldest(t.Context(), shards)
	if err != nil {
		t.Fatal(err)
	}
	return oldest
}

func testStats(t *testing.T, b Backend) {
	equal(t, "empty", b.mustStats(t), outbox.Stats{})
	b.mustAppend(t, rows("a", 1, 5)...)
	b.mustAppend(t, rows("b", 1, 5)...)
	b.mustMark(t, rows("a", 1, 3)...)
	eventually(t, "the oldest row has an age", func() bool { return b.mustStats(t).Oldest > 0 })
	st := b.mustStats(t)
	equal(t, "unpublished", st.Unpublished, int64(7))
	equal(t, "unstored", st.Unstored, int64(10))
	if st.Oldest > patience {
		t.Errorf("oldest: got %v", st.Oldest)
	}
}

// Markers, removers and sweepers work on the same rows at once, as relays do that were paused and came back.
func testConcurrent(t *testing.T, b Backend) {
	const keys, perKey, workers = 8, 40, 6
	for k := range keys {
		b.mustAppend(t, rows(fmt.Sprint("k", k), 1, perKey)...)
	}
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	start := make(chan struct{})
	for w := range workers {
		wg.Go(func() {
			<-start
			var err error
			for i := int64(1); i <= 10; i++ {
				window, e := b.Store.Fetch(t.Context(), all(), 100)
				rand.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
				err = errors.Join(err, e, b.Store.MarkPublished(t.Context(), window))
				marks := map[string]int64{}
				for k := range keys {
					marks[fmt.Sprint("k", k)] = i * 2
				}
				_, e = b.Store.Remove(t.Context(), marks)
				_, e2 := b.Store.Republish(t.Context(), fmt.Sprint("k", w), 0, 20)
				err = errors.Join(err, e, e2)
			}
			errs <- err
		})
	}
	close(start)
	wg.Wait()
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	equal(t, "left", b.mustStats(t).Unstored, int64(keys*(perKey-20)))
}
