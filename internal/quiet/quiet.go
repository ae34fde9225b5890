// Package quiet gives memory back to the system when a process has grown quiet. After a burst, ten thousand clients who
// join at once, Go keeps what it needed for that, up to as much again as lives, since it may be needed again; that is
// right under load, where it costs nothing and a smaller heap would cost collections.
package quiet

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is how long a process must be quiet.
	every = time.Second
	// quietBytes is how much a quiet process allocates in that time at most.
	quietBytes = 512 << 10
	// worthBytes is how much must have been allocated since the last time, and it must be an eighth of what lives: to give
	// memory back costs a collection.
	worthBytes = 4 << 20
)

// Process runs until ctx ends, and returns nil.
func Process(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var given uint64 // allocated before the last time
	for last := read(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := read()
		if now.allocated-last.allocated <= quietBytes && now.allocated-given >= max(worthBytes, now.live/8) {
			debug.FreeOSMemory()
			now = read()
			given = now.allocated
		}
		last = now
	}
}

// usage is in bytes: allocated since the start, and live or not collected yet.
type usage struct{ allocated, live uint64 }

func read() usage {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	return usage{samples[0].Value.Uint64(), samples[1].Value.Uint64()}
}
