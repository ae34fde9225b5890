package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc; Linux has had 100 a second on every platform of Go.
const tick = 10 * time.Millisecond

// machineCPU is the CPU time that all processes of this machine have used.
func machineCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := bytes.Fields(line) // cpu, user, nice, system, idle, iowait, irq, softirq, …
	if len(fields) < 8 {
		return 0
	}
	total := 0
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, _ := strconv.Atoi(string(fields[i]))
		total += n
	}
	return time.Duration(total) * tick
}

// processes tells CPU time and resident memory of processes and all that they started, as /proc has them. The time of
// children that ended is counted by their parent. Nothing is an error: a process may end meanwhile.
func processes(roots []int) (cpu time.Duration, rss int64) {
	if len(roots) == 0 {
		return 0, 0
	}
	children := make(map[int][]int)
	times := make(map[int]time.Duration)
	resident := make(map[int]int64)
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 1 || end < open {
			continue
		}
		fields := bytes.Fields(b[end+1:]) // from the third on, as proc(5) counts them
		if len(fields) < 22 {
			continue
		}
		number := func(i int) int { n, _ := strconv.Atoi(string(fields[i-3])); return n }
		pid, _ := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
		children[number(4)] = append(children[number(4)], pid)
		times[pid] = time.Duration(number(14)+number(15)+number(16)+number(17)) * tick
		resident[pid] = int64(number(24)) * int64(os.Getpagesize())
	}
	seen := make(map[int]bool)
	for queue := slices.Clone(roots); len(queue) > 0; queue = queue[1:] {
		if pid := queue[0]; !seen[pid] {
			seen[pid] = true
			cpu, rss = cpu+times[pid], rss+resident[pid]
			queue = append(queue, children[pid]...)
		}
	}
	return cpu, rss
}
