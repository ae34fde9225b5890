package chatroom

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"
)

// benchRoom is a room whose readers, on real sockets, take what they are given and drop it.
func benchRoom(tb testing.TB, readers int) *room {
	tb.Helper()
	srv, url := serve(tb, sqliteStore(tb))
	for i := range readers {
		p := join(tb, url, fmt.Sprint("reader-", i))
		go func() { _, _ = io.Copy(io.Discard, p.conn.NetConn()) }()
	}
	return srv.hub.get("r")
}

// deliver adds the next event and writes it to all readers.
func deliver(r *room, f *flusher, now time.Time) {
	evs := logEvents(r.log.head+1, r.log.head+1)
	r.add(now, evs...)
	for _, l := range r.lanes {
		l.flush(f)
	}
}

// BenchmarkDeliver is one event to all readers of a room, by one flusher.
func BenchmarkDeliver(b *testing.B) {
	for _, readers := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			r, f, now := benchRoom(b, readers), newFlusher(), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				deliver(r, f, now)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*readers), "ns/delivery")
		})
	}
}

// An event is encoded once, and to write it to one reader more allocates nothing.
func TestADeliveryAllocatesNothing(t *testing.T) {
	f, now := newFlusher(), time.Now()
	allocs := func(readers int) float64 {
		r := benchRoom(t, readers)
		return testing.AllocsPerRun(200, func() { deliver(r, f, now) })
	}
	one, many := allocs(1), allocs(101)
	t.Logf("an event to 1 reader: %v allocations, to 101: %v", one, many)
	if (many-one)/100 > 0.05 { // the readers' connections allocate a little, at times
		t.Errorf("%v allocations for an event to 1 reader, %v to 101", one, many)
	}
}

func BenchmarkRoomLog(b *testing.B) {
	now := time.Now()
	b.Run("add", func(b *testing.B) {
		l := newRoomLog(logLimits{count: 1000, bytes: 1 << 20, ttl: time.Hour}, new(atomic.Int64))
		l.start(0, nil, now)
		e := logEvents(1, 1)[0]
		b.ReportAllocs()
		for b.Loop() {
			e.Seq = l.head + 1
			l.add(e, now)
		}
	})
	b.Run("read 10", func(b *testing.B) {
		l := newRoomLog(logLimits{count: 1000, bytes: 1 << 20, ttl: time.Hour}, new(atomic.Int64))
		l.start(0, nil, now)
		for _, e := range logEvents(1, 1000) {
			l.add(e, now)
		}
		var dst [][]byte
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = l.read(dst[:0], 500, 10, 1<<20)
		}
	})
}
