package outbox

import (
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/mutant"
)

// Bounds of what is kept in memory. What is beyond them is in the database, and comes from there.
const (
	maxOffered      = 8192
	maxOfferedBytes = 4 * WindowBytes
	maxKeys         = 65_536
)

// offered is what the relay knows without a look into the database: the rows that were committed in this process and not
// handed out yet, all of shards that it owns.
//
// Rows of other processes are offered to nobody, and yet no row may be published before a lower one of its key. So a row
// is taken only if it follows the last one of its key that the relay knows of. Anything else is a gap: what was offered is
// dropped, and the database asked, until it has no more than it gave. Every row up to the last one of its key has been
// handed out, waits here, or will be fetched because of a gap.
type offered struct {
	rows   []Row
	bytes  int
	last   map[string]int64 // highest seq of a key that is known
	gap    bool             // the database may have rows that are not here
	looked time.Time        // when the last fetch, or poll, began; later, where the next poll is to wait
	taken  time.Time        // when the last window was taken from here
}

// Rows that come in a stream go out in fewer windows, since what a broker and a consumer do costs for each message and for
// each commit: a window holds up the next one by its rows. A row that comes alone, or behind a few, does not wait.
const (
	pace    = 500 * time.Microsecond
	maxPace = 50 * time.Millisecond
)

// miss notes a gap.
func (o *offered) miss() { o.rows, o.bytes, o.gap = nil, 0, true }

// know notes a row, and tells whether it follows the last one of its key.
func (o *offered) know(key string, seq int64) (follows bool) {
	last, known := o.last[key]
	if !known && len(o.last) >= maxKeys {
		clear(o.last)
	}
	o.last[key] = max(last, seq)
	return seq == last+1
}

// Offer gives the relay rows that this process has just committed, in the order of seq for each key, so that it need not
// fetch them; none: rows were committed that the caller cannot name. Payloads must not be changed any more. It never blocks;
// rows of shards that this relay does not own are left to their owner.
func (r *Relay) Offer(rows []Row) {
	if len(rows) == 0 || mutant.CursorOverIDs {
		r.Wake()
		return
	}
	r.mu.Lock()
	owned, news := r.shardsLocked(), false
	for _, row := range rows {
		if _, mine := slices.BinarySearch(owned, row.Shard); mine {
			r.offered.offer(row)
			news = true
		}
	}
	r.mu.Unlock()
	if news {
		r.signal()
	}
}

func (o *offered) offer(row Row) {
	if !o.know(row.Key, row.Seq) {
		o.miss()
	}
	if o.gap {
		return
	}
	o.rows, o.bytes = append(o.rows, row), o.bytes+len(row.Payload)
	if len(o.rows) > maxOffered || o.bytes > maxOfferedBytes {
		o.miss()
	}
}

// Heard tells that some process, this one perhaps, has committed a row. One that the relay does not know of is looked for
// at once. It never blocks.
func (r *Relay) Heard(key string, seq int64) {
	r.mu.Lock()
	_, mine := slices.BinarySearch(r.shardsLocked(), r.o.ShardOf(key))
	news := mine && seq > r.offered.last[key]
	if news {
		r.offered.miss()
	}
	r.mu.Unlock()
	if news {
		r.signal()
	}
}

// takeOffered returns a window of what was offered; all is false where the database has to be asked.
func (r *Relay) takeOffered() (rows []Row, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.offered
	if len(r.shardsLocked()) == 0 {
		o.miss()
	}
	if o.gap {
		return nil, false
	}
	n := windowOf(o.rows, r.o.Window)
	rows, o.rows = o.rows[:n:n], o.rows[n:]
	o.bytes -= sizeOf(rows)
	if len(o.rows) == 0 {
		o.rows = nil // the window has the array
	}
	o.taken = time.Now()
	return rows, true
}

// pollDue returns the shards to ask about, where it is time for that and no fetch is due anyway.
func (r *Relay) pollDue() (shards []int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shards = r.shardsLocked()
	return shards, len(shards) > 0 && !r.offered.gap && time.Since(r.offered.looked) >= r.o.Poll
}

// endPoll notes a poll, and whether the database has rows that nobody handed out.
func (r *Relay) endPoll(began time.Time, overlooked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered.looked = began
	if overlooked {
		r.offered.miss()
	} else {
		r.unmarked.polled()
	}
}

// postponePoll lets a poll that failed wait for longer than Options.Poll.
func (r *Relay) postponePoll(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered.looked = time.Now().Add(wait)
}

// beginFetch returns the shards to look at, and their lease. What is offered from now on may be in the answer or not.
func (r *Relay) beginFetch() (shards []int, lease int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.offered
	o.looked = time.Now()
	shards = r.shardsLocked()
	o.gap = len(shards) == 0
	return shards, r.leaseLocked()
}

// endFetch notes what the database gave. As many rows as were asked for say nothing about what is behind them.
func (r *Relay) endFetch(rows []Row, limit int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, size := &r.offered, 0
	last := make(map[string]int64)
	for _, row := range rows {
		size += len(row.Payload)
		o.know(row.Key, row.Seq)
		last[row.Key] = row.Seq
	}
	if err != nil || len(rows) >= limit || size >= WindowBytes {
		o.miss()
		return
	}
	o.rows = slices.DeleteFunc(o.rows, func(row Row) bool {
		again := row.Seq <= last[row.Key]
		if again {
			o.bytes -= len(row.Payload)
		}
		return again
	})
}

func (r *Relay) pollIn() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, time.Until(r.offered.looked.Add(r.o.Poll)))
}
