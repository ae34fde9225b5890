package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// orderOf draws the sends of one room, with seqs that need not fit their times.
func orderOf(t *rapid.T) (*room, []Send) {
	n := rapid.IntRange(1, 12).Draw(t, "sends")
	seqs := rapid.Permutation(rangeTo(n)).Draw(t, "seqs")
	if rapid.Bool().Draw(t, "nearly in order") {
		seqs = rangeTo(n)
		if i := rapid.IntRange(0, n-1).Draw(t, "swapped"); i > 0 {
			seqs[i-1], seqs[i] = seqs[i], seqs[i-1]
		}
	}
	c := &checker{violated: make(map[string]int)}
	r := &room{c: c, Room: Room{Name: "ops", Head: int64(n)}}
	for i, seq := range seqs {
		first := time.Duration(i + rapid.IntRange(1, 5).Draw(t, "first")) // nearly in the order of seqs
		s := Send{Sender: "ann", ID: fmt.Sprint(i), Room: "ops", First: first, Seq: seq}
		if rapid.IntRange(0, 4).Draw(t, "known") > 0 {
			s.Accepted = first + time.Duration(rapid.IntRange(0, 4).Draw(t, "took"))
		}
		c.sends = append(c.sends, s)
		r.order = append(r.order, placed{seq, i})
	}
	return r, c.sends
}

func rangeTo(n int) []int64 {
	s := make([]int64, n)
	for i := range s {
		s[i] = int64(i + 1)
	}
	return s
}

// The linear pass finds the sends that comparing each with each finds, and porcupine, which knows nothing of either,
// finds no order exactly where there are some.
func TestRealTimeOrderAgainstComparingAllPairs(t *testing.T) {
	var right, wrong int
	rapid.Check(t, func(t *rapid.T) {
		r, sends := orderOf(t)
		want := 0
		for _, b := range sends {
			for _, a := range sends {
				if a.Accepted != 0 && a.Accepted < b.First && a.Seq > b.Seq {
					want++
					break
				}
			}
		}
		if r.judgeRealTime(); r.c.v.OutOfOrder != want {
			t.Errorf("the linear pass finds %d out of order, comparing all pairs %d: %+v", r.c.v.OutOfOrder, want, sends)
		}
		r.c.violated = make(map[string]int) // as if nothing had been found
		r.c.porcupine.room(r)
		linearizable := "ok"
		if want > 0 {
			linearizable = "violated"
			wrong++
		} else {
			right++
		}
		if got := r.c.porcupine.String(); !strings.HasPrefix(got, linearizable+": ") {
			t.Errorf("porcupine says %q, want %s: %+v", got, linearizable, sends)
		}
		if named := r.c.explained[rank(KindNotLinearized)]; named != min(want, 1) {
			t.Errorf("%d reports that porcupine differs, want %d", named, min(want, 1))
		}
	})
	if right < 10 || wrong < 10 {
		t.Errorf("of the histories %d are right and %d wrong: the test compares too little", right, wrong)
	}
}

func TestWindows(t *testing.T) {
	for _, n := range []int{1, windowOps, windowOps + 1, 2*windowOps - 1, windowsPerRoom*windowOps + 3, 50 * windowOps} {
		w := windows(n)
		if first, last := w[0], w[len(w)-1]; first.from != 0 || last.to != n {
			t.Errorf("of %d ops the windows %v have not the first and the last", n, w)
		}
		if len(w) > windowsPerRoom {
			t.Errorf("%d windows of %d ops", len(w), n)
		}
		for i := range w {
			if w[i].to-w[i].from > windowOps || (i > 0 && w[i].from < w[i-1].to) {
				t.Errorf("of %d ops: windows %v overlap or are too long", n, w)
			}
		}
	}
}
