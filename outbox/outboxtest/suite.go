// Package outboxtest is the conformance suite of outbox.Store: what the relay relies on, checked on each database and on
// [Memory], with a relay on top. It promises nothing about speed. Its goroutines end with the test.
package outboxtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/outbox"
)

// Shards is the number of shards in the suite.
const Shards = 16

// patience bounds the wait for a condition that involves a real server.
const patience = time.Minute

// Backend is an empty outbox, and the way of the accepting transaction into it.
type Backend struct {
	Store outbox.Store
	// Append adds the rows in one transaction of its own.
	Append func(ctx context.Context, rows []outbox.Row) error
}

// Run checks a store. open is called once for each test and cleans up through its testing.TB.
func Run(t *testing.T, open func(testing.TB) Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"OrderOfAKeyIsTheOrderOfSeq":          testOrderOfKey,
		"FetchIsOldestFirst":                  testOldestFirst,
		"FetchIsBoundedByBytes":               testFetchBytes,
		"RowStaysUntilStored":                 testRowStays,
		"MarkPublishedIsRepeatable":           testMarkRepeatable,
		"RemoveReachesUpToTheMark":            testRemove,
		"AppendRefusesASecondRow":             testAppendTwice,
		"UnstoredFindsTheLowestRow":           testUnstored,
		"RepublishIsBounded":                  testRepublish,
		"StatsCount":                          testStats,
		"TheOldestUnpublishedRowHasAnAge":     testOldest,
		"ConcurrentCallsDoNotDeadlock":        testConcurrent,
		"LeaseAloneTakesAll":                  testLeaseAlone,
		"LeaseFairShareOfTwoAndThree":         testLeaseFairShare,
		"LeaseExpiryMovesShards":              testLeaseExpiry,
		"LeaseReleaseHandsOverAtOnce":         testLeaseRelease,
		"LeaseRaceGivesEachShardOneOwner":     testLeaseRace,
		"RelayDrainsInOrder":                  testRelayDrains,
		"RelayPublishesAgainAfterCrash":       testRelayCrash,
		"RelayHandsOutFailedRowsAgain":        testRelayFailed,
		"RelayWakesWithoutThePoll":            testRelayWake,
		"RelayPollFindsRowsOfOthers":          testRelayPoll,
		"RelayRepublishesAfterBrokerWipe":     testRelayWipe,
		"RelayPausedAndBackDoesNoHarm":        testRelayPaused,
		"RelayIgnoresMarksOfShardsOfOthers":   testRelayForeignMarks,
		"RelaySweepAsksWatermarksFirst":       testRelaySweepAsks,
		"RelayReleasesItsShardsWhenItIsEnded": testRelayReleases,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// row makes a row whose payload names it.
func row(key string, seq int64) outbox.Row {
	return outbox.Row{Shard: outbox.ShardOf(key, Shards), Key: key, Seq: seq, Payload: fmt.Appendf(nil, "%s/%d", key, seq)}
}

// rows makes the rows from..to of a key.
func rows(key string, from, to int64) (out []outbox.Row) {
	for seq := from; seq <= to; seq++ {
		out = append(out, row(key, seq))
	}
	return out
}

// all lists every shard.
func all() []int {
	shards := make([]int, Shards)
	for i := range shards {
		shards[i] = i
	}
	return shards
}

func (b Backend) mustAppend(t *testing.T, rows ...outbox.Row) {
	t.Helper()
	if err := b.Append(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

func (b Backend) mustFetch(t *testing.T, shards []int, limit int) []outbox.Row {
	t.Helper()
	rows, err := b.Store.Fetch(t.Context(), shards, limit)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func (b Backend) mustMark(t *testing.T, rows ...outbox.Row) {
	t.Helper()
	if err := b.Store.MarkPublished(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

func (b Backend) mustRemove(t *testing.T, stored map[string]int64, want int64) {
	t.Helper()
	got, err := b.Store.Remove(t.Context(), stored)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Remove(%v): got %d rows, want %d", stored, got, want)
	}
}

func (b Backend) mustLease(t *testing.T, owner string, ttl time.Duration) []int {
	t.Helper()
	shards, err := b.Store.Lease(t.Context(), owner, Shards, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(shards) {
		t.Errorf("Lease(%s): got %v, want ascending", owner, shards)
	}
	return shards
}

func (b Backend) mustStats(t *testing.T) outbox.Stats {
	t.Helper()
	st, err := b.Store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// names lists rows as key/seq.
func names(rows []outbox.Row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%s/%d", r.Key, r.Seq)
	}
	return out
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// eventually asks until the condition holds; each question is a round trip, so it needs no pause of its own.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if holds() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, patience)
}
