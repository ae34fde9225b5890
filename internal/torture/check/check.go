// Package check judges a run of the torture test: from what the clients wrote down and what the services have at rest it
// finds every broken promise, and says it in sentences.
//
// It is pure: no I/O, and no clock but the time limit of porcupine. Apart from sorting, its time is linear in the size of
// the run, so that millions of events take seconds; beside its arguments it takes less than 200 bytes for each send.
//
// What it holds a run to:
//
//   - every accepted send is exactly once in history, table and keys, with the seq and the time that its sender read and
//     the text that its sender wrote; one whose outcome is unknown at most once; a refused one never; and nothing is there
//     that nobody sent,
//   - seqs of a room are 1 to n without a hole, and n is its head,
//   - if one message was accepted before another was first sent, it has the lower seq,
//   - a reader sees each seq once, in order and without a hole from where it joined, to the head if it is still there,
//   - readers, history, table and keys agree on what is at a seq,
//   - at rest nothing waits in the outbox, and the dead letters are those that were planted.
package check

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
)

// Check judges a run. It does not change its arguments. The same run gets the same verdict, except that porcupine may run
// out of time.
func Check(j Journal, s State) Verdict {
	c := &checker{sends: j.Sends, violated: make(map[string]int)}
	c.v.Violations = []Violation{} // JSON has a list in any case
	c.count(j, s)
	c.judgeJournal()

	rooms := c.rooms(j, s)
	for _, r := range rooms {
		r.judge()
	}
	c.judgeStrays()
	c.judgeRest(s)
	for _, r := range rooms {
		c.porcupine.room(r)
	}

	c.v.Linearizable = c.porcupine.String()
	slices.SortStableFunc(c.v.Violations, func(a, b Violation) int { return cmp.Compare(rank(a.Kind), rank(b.Kind)) })
	return c.v
}

// A checker gathers the verdict over all rooms.
type checker struct {
	sends     []Send
	v         Verdict
	explained [len(kinds)]int // by rank
	violated  map[string]int  // violations of each room
	strays    []stray         // events that no room could explain by its own sends
	porcupine porcupineRun
}

// name is what is unique of a send.
type name struct{ from, id string }

func (c *checker) count(j Journal, s State) {
	c.v.Sent = len(j.Sends)
	for i := range j.Sends {
		switch {
		case j.Sends[i].Accepted != 0:
			c.v.Accepted++
		case j.Sends[i].Refused != "":
			c.v.Refused++
		default:
			c.v.Unknown++
		}
	}
	for i := range s.Rooms {
		c.v.Stored += len(s.Rooms[i].Stored)
	}
}

// rooms sorts sends and readers by room; the rooms come in the order of their names. A room that only the journal knows is
// an empty one.
func (c *checker) rooms(j Journal, s State) []*room {
	byName := make(map[string]*room, len(s.Rooms))
	get := func(n string) *room {
		r := byName[n]
		if r == nil {
			r = &room{c: c, Room: Room{Name: n}}
			byName[n] = r
		}
		return r
	}
	for _, state := range s.Rooms {
		get(state.Name).Room = state
	}
	for i := range j.Sends {
		r := get(j.Sends[i].Room)
		r.sends = append(r.sends, i)
	}
	for i := range j.Readers {
		r := get(j.Readers[i].Room)
		r.readers = append(r.readers, &j.Readers[i])
	}
	all := make([]*room, 0, len(byName))
	for _, n := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, byName[n])
	}
	return all
}

// report counts n violations of one kind, and explains them if there is room left. text is asked for only then.
func (c *checker) report(n int, v Violation, text func() string) {
	switch v.Kind {
	case KindLost:
		c.v.Lost += n
	case KindDuplicated:
		c.v.Duplicated += n
	case KindOutOfOrder:
		c.v.OutOfOrder += n
	case KindGap:
		c.v.Gaps += n
	default:
		c.v.Other += n
	}
	c.violated[v.Room] += n
	if k := rank(v.Kind); c.explained[k] < MaxExplained {
		c.explained[k]++
		v.Text = text()
		c.v.Violations = append(c.v.Violations, v)
	}
}

// judgeJournal looks for what no server can be blamed for. A message that two entries of the journal claim would hide a
// duplicate, so that such a run proves nothing.
func (c *checker) judgeJournal() {
	broken := func(s *Send, what string) {
		c.report(1, Violation{Kind: KindBrokenJournals, Room: s.Room, Seq: s.Seq, ID: s.ID},
			func() string { return fmt.Sprintf("The journal of %s is wrong: %s %s.", s.Sender, s.ID, what) })
	}
	seed := maphash.MakeSeed()
	hashes := make([]uint64, len(c.sends)) // a map of all names would be several times as large
	for i := range c.sends {
		s := &c.sends[i]
		hashes[i] = maphash.Comparable(seed, name{s.Sender, s.ID})
		switch {
		case s.Accepted != 0 && s.Accepted < s.First:
			broken(s, fmt.Sprintf("was accepted at %s, before it was sent at %s", s.Accepted, s.First))
		case s.Accepted != 0 && s.Refused != "":
			broken(s, "was both accepted and refused ("+s.Refused+")")
		}
	}
	slices.Sort(hashes)
	twice := make(map[uint64]bool)
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			twice[hashes[i]] = true
		}
	}
	if len(twice) == 0 {
		return
	}
	seen := make(map[name]bool)
	for i := range c.sends {
		s := &c.sends[i]
		n := name{s.Sender, s.ID}
		if !twice[maphash.Comparable(seed, n)] {
			continue
		}
		if seen[n] {
			broken(s, "is in it twice")
		}
		seen[n] = true
	}
}

// judgeRest holds the outbox and the dead letters to what they must be when all is quiet.
func (c *checker) judgeRest(s State) {
	unstored := 0
	for i := range s.Rooms {
		unstored += len(s.Rooms[i].Waiting)
	}
	if unstored != 0 {
		c.report(1, Violation{Kind: KindUnstored}, func() string {
			return fmt.Sprintf("At rest %d rows of the outbox are not stored.", unstored)
		})
	}
	dead, planted := sorted(s.DeadLetters), sorted(s.Planted)
	for _, id := range dead {
		if _, ok := slices.BinarySearch(planted, id); !ok {
			c.report(1, Violation{Kind: KindDeadLetter, ID: id, Room: roomOf(id)}, func() string {
				return fmt.Sprintf("%s is among the dead letters, and nobody planted it there.", id)
			})
		}
	}
	for _, id := range planted {
		if _, ok := slices.BinarySearch(dead, id); !ok {
			c.report(1, Violation{Kind: KindDeadLetter, ID: id, Room: roomOf(id)}, func() string {
				return fmt.Sprintf("%s was planted as a poison message, and is not among the dead letters.", id)
			})
		}
	}
}

func sorted(ids []string) []string { return slices.Compact(slices.Sorted(slices.Values(ids))) }

// roomOf tells the room in an event's id.
func roomOf(eventID string) string {
	r, _, _ := strings.Cut(eventID, "/")
	return r
}
