package outbox

import "context"

// maxUnmarked bounds the rows that are published and not marked.
const maxUnmarked = 16_384

// unmarked are rows that are published and confirmed, and not marked in the database. Those that were offered are stored and
// removed within a moment as a rule, so that a mark would be written in vain; those of a backlog are marked many at once. What
// is there still when the database is asked for rows, each poll at the latest, is marked first. Marks that are lost with the
// process cost a second publishing.
type unmarked struct {
	spans map[string]span // of a key; the rows of a key are published one after the other
	rows  int
}

// span is the rows after < seq <= upto of a key.
type span struct{ after, upto int64 }

// add notes rows, and returns how many there are.
func (u *unmarked) add(rows []Row) int {
	for _, r := range rows {
		s, ok := u.spans[r.Key]
		if !ok {
			s.after = r.Seq - 1
		}
		u.put(r.Key, span{s.after, r.Seq})
	}
	return u.rows
}

// put replaces the span of a key.
func (u *unmarked) put(key string, s span) {
	old := u.spans[key]
	u.rows += int((s.upto - s.after) - (old.upto - old.after))
	if s.upto > s.after {
		u.spans[key] = s
	} else {
		delete(u.spans, key)
	}
}

// drop forgets rows that are removed.
func (u *unmarked) drop(marks map[string]int64) {
	for key, mark := range marks {
		if s, ok := u.spans[key]; ok && mark > s.after {
			u.put(key, span{min(mark, s.upto), s.upto})
		}
	}
}

// markUnmarked marks all of them.
func (r *Relay) markUnmarked(ctx context.Context) error {
	r.mu.Lock()
	u := r.unmarked
	r.unmarked = unmarked{spans: map[string]span{}}
	r.mu.Unlock()
	if u.rows == 0 {
		return nil
	}
	rows := make([]Row, 0, u.rows)
	for key, s := range u.spans {
		for seq := s.after + 1; seq <= s.upto; seq++ {
			rows = append(rows, Row{Key: key, Seq: seq})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := r.o.Store.MarkPublished(ctx, rows)
	if err != nil {
		r.mu.Lock()
		for key, s := range u.spans {
			if later, ok := r.unmarked.spans[key]; ok {
				s.upto = max(s.upto, later.upto)
			}
			r.unmarked.put(key, s)
		}
		r.mu.Unlock()
	}
	return err
}
