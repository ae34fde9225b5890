package torture

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

// journal is what all clients of a run write down, on one monotonic clock.
type journal struct {
	// Immutable.
	began time.Time

	delivered        atomic.Int64 // events that came to readers
	writers, readers atomic.Int64 // connected

	mu         sync.Mutex // guards the fields below
	sends      []*check.Send
	readings   []*check.Reader
	accepted   map[string]map[int64]time.Duration // room → seq → when, of what is not told to be stored yet
	stored     map[string]int64                   // as some client was told
	heads      map[string]int64                   // the highest accepted seq
	latencies  []time.Duration                    // from accepted to stored, since the last sample
	nAccepted  int64
	nStored    int64
	complaints []string
}

func newJournal() *journal {
	return &journal{
		began: time.Now(), accepted: make(map[string]map[int64]time.Duration), stored: make(map[string]int64), heads: make(map[string]int64),
	}
}

func (j *journal) now() time.Duration { return time.Since(j.began) }

// sending notes a send before it is first handed to a connection.
func (j *journal) sending(s *check.Send) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.First, s.Tries = j.now(), 1
	j.sends = append(j.sends, s)
}

// again notes that another life of its writer takes a send up.
func (j *journal) again(s *check.Send) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Tries++
}

// answered notes an accepted for a send; of a second one only that it says the same.
func (j *journal) answered(s *check.Send, seq int64, sentAt time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.Accepted != 0 {
		if s.Seq != seq || !s.SentAt.Equal(sentAt) {
			j.complainLocked("%s of %s was accepted as %d of %s at first, and then as %d", s.ID, s.Sender, s.Seq, s.Room, seq)
		}
		return
	}
	s.Accepted, s.Seq, s.SentAt = j.now(), seq, sentAt
	j.nAccepted++
	j.heads[s.Room] = max(j.heads[s.Room], seq)
	if seq > j.stored[s.Room] {
		if j.accepted[s.Room] == nil {
			j.accepted[s.Room] = make(map[int64]time.Duration)
		}
		j.accepted[s.Room][seq] = s.Accepted
	}
}

// refused notes an error that no retry can mend.
func (j *journal) refused(s *check.Send, code string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Refused = code
	j.complainLocked("%s of %s was refused: %s", s.ID, s.Sender, code) // nothing here deserves it
}

// told notes a stored mark.
func (j *journal) told(room string, seq int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	from := j.stored[room]
	if seq <= from {
		return
	}
	now := j.now()
	for n := from + 1; n <= seq; n++ {
		if at, ok := j.accepted[room][n]; ok {
			delete(j.accepted[room], n)
			j.latencies = append(j.latencies, now-at)
		}
	}
	j.nStored += seq - from
	j.stored[room] = seq
}

// reading starts the journal of a reader.
func (j *journal) reading(r *check.Reader) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.readings = append(j.readings, r)
}

// complain notes what is wrong whatever the checker finds.
func (j *journal) complain(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.complainLocked(format, args...)
}

func (j *journal) complainLocked(format string, args ...any) {
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// totals are counters since the beginning. stored is how far the rooms are told to be stored; waiting what is accepted above
// that.
func (j *journal) totals() (accepted, stored, waiting int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for room, head := range j.heads {
		waiting += max(0, head-j.stored[room])
	}
	return j.nAccepted, j.nStored, waiting
}

// takeLatencies returns the 99th percentile of the time from accepted to stored since the last call; 0 for nothing.
func (j *journal) takeLatencies() time.Duration {
	j.mu.Lock()
	l := j.latencies
	j.latencies = nil
	j.mu.Unlock()
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[len(l)*99/100]
}

// close returns the journal for the checker. No client may run any more.
func (j *journal) close() (check.Journal, []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := check.Journal{Sends: make([]check.Send, len(j.sends)), Readers: make([]check.Reader, len(j.readings))}
	for i, s := range j.sends {
		out.Sends[i] = *s
	}
	for i, r := range j.readings {
		out.Readers[i] = *r
	}
	return out, j.complaints
}
