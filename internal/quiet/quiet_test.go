package quiet_test

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/quiet"
)

var kept [][]byte

// Of a burst that is over, what nobody holds goes back to the system.
func TestAQuietProcessGivesMemoryBack(t *testing.T) {
	const burst = 64 << 20
	for range burst >> 16 {
		kept = append(kept, make([]byte, 1<<16))
	}
	runtime.KeepAlive(kept)
	kept = nil
	before := forced()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- quiet.Process(ctx) }()
	for deadline := time.Now().Add(time.Minute); forced() == before || free() > burst/8; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d collections were asked for, %d bytes are free and not given back", forced()-before, free())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// forced is how many collections somebody has asked for; the runtime's own do not count.
func forced() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

func free() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
