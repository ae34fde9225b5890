package outbox

import (
	"context"
	"slices"
)

// maxUnmarked bounds the rows that are published and not marked.
const maxUnmarked = 16_384

// unmarked are rows that are published and confirmed, and not marked in the database. Those that were offered are stored and
// removed within a moment as a rule, so that a mark would be written in vain; those of a backlog are marked many at once. What
// is there still when the database is asked for rows is marked first. A poll that finds only young rows says that the older
// ones are gone. Marks that are lost with the process cost a second publishing.
type unmarked struct {
	spans map[string][]span // of a key, in the order of their publishing
	rows  int
	polls int // how many polls found only young rows
}

// span is the rows after < seq <= upto of a key.
type span struct {
	after, upto int64
	polls       int // how many there had been when the rows were published, among those that are not marked
}

// add notes rows, and returns how many there are.
func (u *unmarked) add(rows []Row) int {
	for _, r := range rows {
		spans := u.spans[r.Key]
		if n := len(spans) - 1; n >= 0 && spans[n].upto == r.Seq-1 && spans[n].polls == u.polls {
			spans[n].upto++
		} else {
			u.spans[r.Key] = append(spans, span{r.Seq - 1, r.Seq, u.polls})
		}
	}
	u.rows += len(rows)
	return u.rows
}

// drop forgets rows that are removed.
func (u *unmarked) drop(marks map[string]int64) {
	for key, mark := range marks {
		spans, ok := u.spans[key]
		if !ok {
			continue
		}
		left := spans[:0]
		for _, s := range spans {
			gone := min(max(mark-s.after, 0), s.upto-s.after)
			u.rows -= int(gone)
			if s.after += gone; s.after < s.upto {
				left = append(left, s)
			}
		}
		if u.spans[key] = left; len(left) == 0 {
			delete(u.spans, key)
		}
	}
}

// polled forgets what was published before the last poll but this one: it would be no longer young.
func (u *unmarked) polled() {
	for key, spans := range u.spans {
		left := slices.DeleteFunc(spans, func(s span) bool {
			gone := s.polls < u.polls
			if gone {
				u.rows -= int(s.upto - s.after)
			}
			return gone
		})
		if u.spans[key] = left; len(left) == 0 {
			delete(u.spans, key)
		}
	}
	u.polls++
}

// markUnmarked marks all of them.
func (r *Relay) markUnmarked(ctx context.Context) error {
	r.mu.Lock()
	u := r.unmarked
	r.unmarked = unmarked{spans: map[string][]span{}, polls: u.polls}
	r.mu.Unlock()
	if u.rows == 0 {
		return nil
	}
	rows := make([]Row, 0, u.rows)
	for key, spans := range u.spans {
		for _, s := range spans {
			for seq := s.after + 1; seq <= s.upto; seq++ {
				rows = append(rows, Row{Key: key, Seq: seq})
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := r.o.Store.MarkPublished(ctx, rows)
	if err != nil {
		r.mu.Lock()
		for key, spans := range u.spans {
			r.unmarked.spans[key] = append(spans, r.unmarked.spans[key]...)
		}
		r.unmarked.rows += u.rows
		r.mu.Unlock()
	}
	return err
}
