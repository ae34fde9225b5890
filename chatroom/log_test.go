package chatroom

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

func logEvents(from, to int64) []frame.Event {
	var evs []frame.Event
	for seq := from; seq <= to; seq++ {
		evs = append(evs, frame.Event{Seq: seq, Kind: "message", ID: fmt.Sprint(seq), From: "ann", Text: "text"})
	}
	return evs
}

func seqsAfter(tb testing.TB, l *roomLog, after int64) []int64 {
	tb.Helper()
	encoded, ok := l.read(nil, after, 1<<30, 1<<30)
	if !ok {
		tb.Fatalf("read above %d: fell off the log", after)
	}
	var seqs []int64
	for _, b := range encoded {
		var e frame.Event
		if err := json.Unmarshal(b, &e); err != nil {
			tb.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// Whatever order events come in, and however often, the log holds them once, in order, and never shows one above a hole.
func TestLogOrdersWhatComesInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newRoomLog(logLimits{count: 1000, bytes: 1 << 20, ttl: time.Hour}, new(atomic.Int64))
		start := rng.Int64N(5)
		evs := append(logEvents(1, 40), logEvents(10, 30)...)
		rng.Shuffle(len(evs), func(i, j int) { evs[i], evs[j] = evs[j], evs[i] })
		startAt := rng.IntN(len(evs))
		for i, e := range evs {
			if i == startAt {
				l.start(start, nil, time.Now())
			}
			l.add(e, time.Now())
			if i >= startAt {
				got := seqsAfter(t, &l, start)
				for j, seq := range got {
					if seq != start+1+int64(j) {
						t.Fatalf("seed %d: got %v", seed, got)
					}
				}
				if int64(len(got)) != l.head-start {
					t.Fatalf("seed %d: %d events up to head %d", seed, len(got), l.head)
				}
			}
		}
		if l.head != 40 || l.hole() {
			t.Fatalf("seed %d: head %d, hole %v", seed, l.head, l.hole())
		}
	}
}

func TestLogKeepsItsBounds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := newRoomLog(logLimits{count: 10, bytes: 1 << 20, ttl: time.Minute}, new(atomic.Int64))
	l.start(100, nil, now)
	for _, e := range logEvents(101, 200) {
		l.add(e, now)
	}
	if _, ok := l.read(nil, 189, 100, 1<<20); ok {
		t.Error("event 190 is still there; the log holds 10")
	}
	if got := seqsAfter(t, &l, 190); len(got) != 10 || got[0] != 191 {
		t.Errorf("got %v, want 191 to 200", got)
	}
	size := len(frame.Encode(logEvents(200, 200)[0]))
	l.limits.bytes = 3 * size
	l.trim(now, time.Minute)
	if got := seqsAfter(t, &l, 197); len(got) != 3 || l.bytes > 3*size {
		t.Errorf("got %v, %d bytes", got, l.bytes)
	}
	l.trim(now.Add(time.Hour), time.Minute)
	if got := seqsAfter(t, &l, 200); len(got) != 0 || l.bytes != 0 {
		t.Errorf("after the TTL: got %v, %d bytes", got, l.bytes)
	}
	if _, ok := l.read(nil, 199, 1, 1<<20); ok {
		t.Error("event 200 should have to be read from the database")
	}
}

func TestLogReadIsBounded(t *testing.T) {
	t.Parallel()
	l := newRoomLog(logLimits{count: 100, bytes: 1 << 20, ttl: time.Minute}, new(atomic.Int64))
	l.start(50, logEvents(1, 50), time.Now())
	if got, _ := l.read(nil, 10, 7, 1<<20); len(got) != 7 {
		t.Errorf("got %d events, want 7", len(got))
	}
	if got, _ := l.read(nil, 10, 100, 1); len(got) != 1 {
		t.Errorf("got %d events, want 1: progress, whatever the bound", len(got))
	}
	if got, ok := l.read(nil, 60, 7, 1<<20); len(got) != 0 || !ok {
		t.Errorf("above the head: got %d events, ok %v", len(got), ok)
	}
}
