package outboxtest

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// long is a lease that does not end within a test.
const long = time.Hour

func testLeaseAlone(t *testing.T, b Backend) {
	equal(t, "first", b.mustLease(t, "a", long), all())
	equal(t, "renewed", b.mustLease(t, "a", long), all())
	if _, err := b.Store.Lease(t.Context(), "a", Shards, long); err != nil {
		t.Fatal(err)
	}
}

func testLeaseFairShare(t *testing.T, b Backend) {
	settle := func(owners ...string) []int {
		t.Helper()
		var sizes []int
		for range 2 { // once to be seen and to give up, once to take
			sizes = nil
			held := map[int]string{}
			for _, o := range owners {
				shards := b.mustLease(t, o, long)
				sizes = append(sizes, len(shards))
				for _, s := range shards {
					if held[s] != "" {
						t.Errorf("shard %d: owned by %s and %s", s, held[s], o)
					}
					held[s] = o
				}
			}
		}
		return sizes
	}
	b.mustLease(t, "a", long)
	equal(t, "a newcomer takes nothing from a live owner", len(b.mustLease(t, "b", long)), 0)
	equal(t, "two", settle("a", "b"), []int{8, 8})
	equal(t, "three", settle("a", "b", "c"), []int{6, 6, 4})
	if err := b.Store.Release(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	equal(t, "two again", settle("a", "c"), []int{8, 8})
}

func testLeaseExpiry(t *testing.T, b Backend) {
	const ttl = 300 * time.Millisecond
	began := time.Now()
	equal(t, "first", len(b.mustLease(t, "dead", ttl)), Shards)
	eventually(t, "all shards move", func() bool { return len(b.mustLease(t, "live", long)) == Shards })
	// SQLite's clock has whole milliseconds.
	if took := time.Since(began); took < ttl-time.Millisecond {
		t.Errorf("shards moved after %v, before the lease of %v ended", took, ttl)
	}
	equal(t, "the dead comes back", len(b.mustLease(t, "dead", long)), 0)
}

func testLeaseRelease(t *testing.T, b Backend) {
	b.mustLease(t, "a", long)
	if err := b.Store.Release(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	equal(t, "the next", b.mustLease(t, "b", long), all())
	if err := b.Store.Release(t.Context(), "nobody"); err != nil {
		t.Error(err)
	}
}

// Owners that start at the same moment end with each shard owned once.
func testLeaseRace(t *testing.T, b Backend) {
	const owners = 5
	held := make([][]int, owners)
	for range 3 {
		var wg sync.WaitGroup
		start := make(chan struct{})
		errs := make([]error, owners)
		for i := range owners {
			wg.Go(func() {
				<-start
				held[i], errs[i] = b.Store.Lease(t.Context(), fmt.Sprint("owner", i), Shards, long)
			})
		}
		close(start)
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Shards that were given up in the last round are taken in this one.
	seen := map[int]int{}
	for i := range owners {
		held[i] = b.mustLease(t, fmt.Sprint("owner", i), long)
		for _, s := range held[i] {
			seen[s]++
		}
		if len(held[i]) > 4 {
			t.Errorf("owner%d: got %d shards, want at most 4", i, len(held[i]))
		}
	}
	for s := range Shards {
		if seen[s] != 1 {
			t.Errorf("shard %d has %d owners", s, seen[s])
		}
	}
}
