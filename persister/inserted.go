package persister

import "sync"

// maxInserted bounds the rooms that are remembered. They are forgotten with the next look at their watermarks, which follows
// on each insert.
const maxInserted = 10_000

// span is the seqs from first to last; none with last 0.
type span struct{ first, last int64 }

// inserted remembers which rows a store has committed since it last looked for the rooms' watermarks, so that it need not
// read its own rows again to see that they have no hole. What is forgotten only costs that reading.
type inserted struct {
	mu    sync.Mutex
	rooms map[string]span // guarded by mu
}

// add notes the rows of an insert, which come sorted by room and seq and are all different.
func (s *inserted) add(rooms []string, seqs []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms == nil || len(s.rooms) > maxInserted {
		s.rooms = map[string]span{}
	}
	for i := 0; i < len(rooms); {
		run := span{seqs[i], seqs[i]}
		room := rooms[i]
		for i++; i < len(rooms) && rooms[i] == room && seqs[i] == run.last+1; i++ {
			run.last++
		}
		s.rooms[room] = s.rooms[room].join(run)
	}
}

// take returns what is known of the rooms, and forgets it.
func (s *inserted) take(rooms []string) map[string]span {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := make(map[string]span, len(rooms))
	for _, room := range rooms {
		if sp, ok := s.rooms[room]; ok {
			taken[room] = sp
			delete(s.rooms, room)
		}
	}
	return taken
}

// forget is for a failure of the server: what comes up again may be a copy that lacks the last commits.
func (s *inserted) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms = nil
}

// join is both where they touch, otherwise the lower one.
func (s span) join(t span) span {
	switch {
	case s.last == 0:
		return t
	case t.first > s.last+1:
		return s
	case s.first > t.last+1:
		return t
	}
	return span{min(s.first, t.first), max(s.last, t.last)}
}
