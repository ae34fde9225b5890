package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

// This process burns CPU time; /proc has to tell as much as the kernel's own account does.
func TestProcessesOfThisOne(t *testing.T) {
	t.Parallel()
	own := ownCPU()
	for n := 0; ownCPU()-own < 100*time.Millisecond; n++ {
		_ = strings.Repeat("x", n%1000)
	}
	cpu, rss := processes([]int{os.Getpid()})
	if cpu < 50*time.Millisecond || rss < 1<<20 {
		t.Errorf("got %s and %d bytes", cpu, rss)
	}
	if cpu, rss := processes(nil); cpu != 0 || rss != 0 {
		t.Errorf("of nobody: got %s and %d bytes", cpu, rss)
	}
	if got := machineCPU(); got < cpu {
		t.Errorf("the machine used %s, this process alone %s", got, cpu)
	}
}
