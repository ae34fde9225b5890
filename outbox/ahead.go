package outbox

import (
	"context"
	"slices"
)

const (
	// aheadWindows is how many windows are read at once while a backlog is published. Each reading meets the window that is
	// out once more, since that is not marked yet.
	aheadWindows = 4
	// aheadBytes bounds a window behind which is read ahead: of what is larger, a fetch would give little more than itself.
	aheadBytes = WindowBytes / 4
)

// ahead is what is read of a backlog while a window of it is out: the broker need not wait for the database. What is here
// follows the rows that are out, so it is of use only when these are published.
type ahead struct {
	rows    []Row           // not handed out yet
	lease   int             // under which the rows were asked for
	out     map[string]span // of each key in the window that is out, if it came from the database
	reading chan struct{}   // closed when rows and lease are there; nil when nobody reads
}

// takeAhead returns the next window of what was read ahead, nil if there is none.
func (r *Relay) takeAhead(ctx context.Context) []Row {
	r.awaitAhead()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &r.ahead
	// Of no use are rows that follow on some that are not published, and rows that another relay publishes.
	drop := a.out != nil || len(a.rows) > 0 && a.lease != r.leaseLocked()
	if drop {
		a.rows = nil
	}
	if drop || a.reading != nil && len(a.rows) == 0 {
		r.offered.miss() // a look at the database, which marks what is published
	}
	a.reading, a.out = nil, nil
	if len(a.rows) == 0 {
		return nil
	}
	n := windowOf(a.rows, r.o.Window)
	rows := a.rows[:n:n]
	if a.rows = a.rows[n:]; len(a.rows) == 0 {
		a.rows = nil // the window has the array
	}
	r.hand(ctx, rows)
	return rows
}

// awaitAhead waits for the reading that is under way. It has the time of a call.
func (r *Relay) awaitAhead() {
	r.mu.Lock()
	reading := r.ahead.reading
	r.mu.Unlock()
	if reading != nil {
		<-reading
	}
}

// windowOf returns how many of the rows make a window.
func windowOf(rows []Row, limit int) (n int) {
	for size := 0; n < len(rows) && n < limit && size < WindowBytes; n++ {
		size += len(rows[n].Payload)
	}
	return n
}

// hand notes that rows out of the database are out, and begins to read what follows when it has no more of that. mu is held.
func (r *Relay) hand(ctx context.Context, rows []Row) {
	a := &r.ahead
	a.out = spansOf(rows)
	if len(a.rows) > 0 || !r.offered.gap || sizeOf(rows) > aheadBytes {
		return
	}
	out, reading := a.out, make(chan struct{})
	a.reading = reading
	limit := len(rows) + aheadWindows*r.o.Window
	go func() {
		defer close(reading)
		rows, lease, err := r.fetch(ctx, limit)
		if err != nil {
			return // the next look meets the error again, and waits
		}
		rows = slices.DeleteFunc(rows, func(row Row) bool { s := out[row.Key]; return s.after < row.Seq && row.Seq <= s.upto })
		r.mu.Lock()
		defer r.mu.Unlock()
		if most := aheadWindows * r.o.Window; len(rows) > most { // some that were out are removed already
			rows = rows[:most]
			r.offered.miss()
		}
		a.rows, a.lease = rows, lease
	}()
}

// spansOf returns from where to where the rows of each key go.
func spansOf(rows []Row) map[string]span {
	spans := make(map[string]span)
	for _, r := range rows {
		s, ok := spans[r.Key]
		if !ok {
			s.after = r.Seq - 1
		}
		s.upto = r.Seq
		spans[r.Key] = s
	}
	return spans
}

func sizeOf(rows []Row) (bytes int) {
	for _, row := range rows {
		bytes += len(row.Payload)
	}
	return bytes
}

// done tells that what is out is published, and whether more of it follows: then it is marked together with that.
func (a *ahead) done() (more bool) {
	a.out = nil
	return a.reading != nil || len(a.rows) > 0
}
