package check

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkCheck judges a right run of a million messages in four rooms that four readers each saw, so that it has six
// million events. B/op is what the check needs beside the run itself.
func BenchmarkCheck(b *testing.B) {
	const sends, rooms = 1_000_000, 4
	plans := make([]plan, sends)
	for i := range plans {
		at := time.Duration(i+1) * 100 * time.Microsecond
		plans[i] = plan{sender: fmt.Sprintf("w%d", i%64), room: fmt.Sprintf("r%d", i%rooms), first: at, committed: at + 5*time.Millisecond}
		if i%100 != 0 {
			plans[i].acceptedAt = at + 6*time.Millisecond
		}
	}
	r := runOf(plans)
	for i := range rooms {
		for k := range 4 {
			r.read(fmt.Sprintf("reader-%d-%d", i, k), r.Rooms[i].Name, 0, r.Rooms[i].Head)
		}
	}
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		if v := Check(r.Journal, r.State); !v.OK() {
			b.Fatal(v, v.Violations)
		}
	}
}
