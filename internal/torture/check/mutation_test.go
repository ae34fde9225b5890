package check

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rightRun draws a run that a right server could have made: writers that overlap, outcomes that nobody knows, readers that
// join and leave anywhere.
func rightRun(t *rapid.T) *run {
	rooms := rapid.IntRange(1, 3).Draw(t, "rooms")
	plans := make([]plan, rapid.IntRange(1, 30).Draw(t, "sends"))
	now := time.Duration(1)
	for i := range plans {
		now += time.Duration(rapid.IntRange(0, 3).Draw(t, "pause"))
		p := plan{
			sender: fmt.Sprintf("w%d", rapid.IntRange(1, 3).Draw(t, "writer")),
			room:   fmt.Sprintf("r%d", rapid.IntRange(1, rooms).Draw(t, "room")),
			first:  now,
		}
		switch rapid.SampledFrom([]string{"accepted", "accepted", "accepted", "unknown", "vanished", "refused"}).Draw(t, "outcome") {
		case "accepted":
			p.committed = p.first + time.Duration(rapid.IntRange(0, 8).Draw(t, "until commit"))
			p.acceptedAt = p.committed + time.Duration(rapid.IntRange(0, 8).Draw(t, "until accepted"))
		case "unknown":
			p.committed = p.first + time.Duration(rapid.IntRange(0, 30).Draw(t, "until commit"))
		case "refused":
			p.refused = "too_large"
		}
		plans[i] = p
	}
	r := runOf(plans)
	for i := range rapid.IntRange(0, 4).Draw(t, "readers") {
		room := rapid.SampledFrom(r.Rooms).Draw(t, "room of reader")
		after := rapid.Int64Range(0, room.Head).Draw(t, "after")
		r.read(fmt.Sprintf("reader-%d", i), room.Name, after, rapid.Int64Range(after, room.Head).Draw(t, "to"))
	}
	for i := range r.Rooms { // the tables have no order
		r.Rooms[i].Stored = rapid.Permutation(r.Rooms[i].Stored).Draw(t, "order of the table")
		r.Rooms[i].Keys = rapid.Permutation(r.Rooms[i].Keys).Draw(t, "order of the keys")
	}
	return r
}

func TestEveryRightRunPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rightRun(t)
		if v := Check(r.Journal, r.State); !v.OK() {
			t.Fatalf("%s\n%+v", v, v.Violations)
		}
	})
}

// damages are ways to break a right run. Each tells whether the run had what it takes.
var damages = []struct {
	name string
	do   func(t *rapid.T, r *run) bool
}{
	{"drop from a side", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil {
			return false
		}
		seq := rapid.Int64Range(1, room.Head).Draw(t, "seq")
		at := rapid.IntRange(1, 7).Draw(t, "sides")
		if at&1 != 0 {
			drop(&room.History, seq)
		}
		if at&2 != 0 {
			drop(&room.Stored, seq)
		}
		if at&4 != 0 {
			dropKey(&room.Keys, seq)
		}
		return true
	}},
	{"the newest lost without a trace", func(_ *rapid.T, r *run) bool {
		for i := range r.Rooms {
			room := &r.Rooms[i]
			s := r.sendAt(room, room.Head)
			if s == nil || s.Accepted == 0 {
				continue
			}
			drop(&room.History, room.Head)
			drop(&room.Stored, room.Head)
			dropKey(&room.Keys, room.Head)
			room.Head--
			for j := range r.Readers {
				if n := len(r.Readers[j].Events); n > 0 && r.Readers[j].Room == room.Name && r.Readers[j].Events[n-1].Seq > room.Head {
					r.Readers[j].Events = r.Readers[j].Events[:n-1]
				}
			}
			return true
		}
		return false
	}},
	{"duplicate a row", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil {
			return false
		}
		side := rapid.SampledFrom([]*[]Event{&room.History, &room.Stored}).Draw(t, "side")
		e := rapid.SampledFrom(*side).Draw(t, "event")
		*side = append(slices.Clone(*side), e)
		return true
	}},
	{"duplicate a message", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil {
			return false
		}
		s := r.sendAt(room, rapid.Int64Range(1, room.Head).Draw(t, "seq"))
		r.committed(s, time.Hour)
		r.everybodyReads(room)
		return true
	}},
	{"swap on a side", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil || room.Head < 2 {
			return false
		}
		side := rapid.SampledFrom([]*[]Event{&room.History, &room.Stored}).Draw(t, "side")
		i := rapid.IntRange(1, len(*side)-1).Draw(t, "event")
		(*side)[i-1].Seq, (*side)[i].Seq = (*side)[i].Seq, (*side)[i-1].Seq
		return true
	}},
	{"swap two accepted everywhere, and tell their senders so", func(_ *rapid.T, r *run) bool {
		for i := range r.Sends {
			for k := range r.Sends {
				a, b := &r.Sends[i], &r.Sends[k]
				if a.Room == b.Room && a.Accepted != 0 && b.Accepted != 0 && a.Accepted < b.First {
					r.swap(a, b)
					return true
				}
			}
		}
		return false
	}},
	{"change a text", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil {
			return false
		}
		i := rapid.IntRange(0, len(room.Stored)-1).Draw(t, "event")
		r.alter(room, room.Stored[i].Seq, rapid.IntRange(1, 7).Draw(t, "sides"))
		return true
	}},
	{"another time for a sender", func(t *rapid.T, r *run) bool {
		s := anyAccepted(t, r)
		if s == nil {
			return false
		}
		s.SentAt = s.SentAt.Add(time.Millisecond)
		return true
	}},
	{"another seq for a sender", func(t *rapid.T, r *run) bool {
		s := anyAccepted(t, r)
		if s == nil {
			return false
		}
		s.Seq += rapid.Int64Range(1, 3).Draw(t, "higher")
		return true
	}},
	{"use a seq again", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil || room.Head < 2 {
			return false
		}
		seq := rapid.Int64Range(1, room.Head-1).Draw(t, "seq")
		for _, side := range []*[]Event{&room.History, &room.Stored} {
			for i := range *side {
				if (*side)[i].Seq == seq+1 {
					(*side)[i].Seq = seq
				}
			}
		}
		return true
	}},
	{"hole for a reader", func(t *rapid.T, r *run) bool {
		return damageReader(t, r, 2, func(e []Seen, i int) []Seen {
			if i == len(e)-1 {
				i--
			}
			return slices.Delete(e, i, i+1)
		})
	}},
	{"a reader sees one again", func(t *rapid.T, r *run) bool {
		return damageReader(t, r, 1, func(e []Seen, i int) []Seen { return append(e, e[i]) })
	}},
	{"a reader goes back", func(t *rapid.T, r *run) bool {
		return damageReader(t, r, 2, func(e []Seen, i int) []Seen {
			j := (i + 1) % len(e)
			e[i], e[j] = e[j], e[i]
			return e
		})
	}},
	{"a reader sees another text", func(t *rapid.T, r *run) bool {
		return damageReader(t, r, 1, func(e []Seen, i int) []Seen { e[i].Digest[3]++; return e })
	}},
	{"a reader stays behind", func(t *rapid.T, r *run) bool {
		return damageReader(t, r, 1, func(e []Seen, i int) []Seen { return e[:i] })
	}},
	{"a refused one is there", func(_ *rapid.T, r *run) bool {
		for i := range r.Sends {
			if s := &r.Sends[i]; s.Refused != "" {
				r.committed(s, time.Hour)
				r.everybodyReads(r.room(s.Room))
				return true
			}
		}
		return false
	}},
	{"invent one", func(_ *rapid.T, r *run) bool {
		r.committed(&Send{Sender: "w1", ID: "invented", Room: r.Rooms[0].Name, Text: "x"}, time.Hour)
		r.everybodyReads(&r.Rooms[0])
		return true
	}},
	{"another head", func(t *rapid.T, r *run) bool {
		r.Rooms[0].Head += rapid.SampledFrom([]int64{-1, 1}).Draw(t, "by")
		return true
	}},
	{"a key lost to another", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room == nil {
			return false
		}
		room.Keys[rapid.IntRange(0, len(room.Keys)-1).Draw(t, "key")].ID += "'"
		return true
	}},
	{"unstored rows", func(t *rapid.T, r *run) bool {
		room := anyRoom(t, r)
		if room != nil {
			room.Waiting = append(room.Waiting, rapid.Int64Range(1, room.Head).Draw(t, "seq"))
		}
		return room != nil
	}},
	{"a dead letter", func(_ *rapid.T, r *run) bool { r.DeadLetters = []string{"r1/1"}; return true }},
}

func TestNoDamagedRunPasses(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			damaged := 0
			rapid.Check(t, func(t *rapid.T) {
				r := rightRun(t)
				if !d.do(t, r) {
					return
				}
				damaged++
				if v := Check(r.Journal, r.State); v.OK() {
					t.Fatalf("passed: %s\n%+v", v, r)
				}
			})
			if damaged < 5 {
				t.Errorf("only %d runs had what it takes to be damaged", damaged)
			}
		})
	}
}

// anyRoom draws a room with an event, nil: there is none.
func anyRoom(t *rapid.T, r *run) *Room {
	var full []*Room
	for i := range r.Rooms {
		if r.Rooms[i].Head > 0 {
			full = append(full, &r.Rooms[i])
		}
	}
	if len(full) == 0 {
		return nil
	}
	return full[rapid.IntRange(0, len(full)-1).Draw(t, "damaged room")]
}

func anyAccepted(t *rapid.T, r *run) *Send {
	var all []*Send
	for i := range r.Sends {
		if r.Sends[i].Accepted != 0 {
			all = append(all, &r.Sends[i])
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "damaged send")]
}

// damageReader draws a live reader with at least n events, and one of them.
func damageReader(t *rapid.T, r *run, n int, do func(e []Seen, i int) []Seen) bool {
	for k := range r.Readers {
		if reader := &r.Readers[k]; reader.Live && len(reader.Events) >= n {
			reader.Events = do(slices.Clone(reader.Events), rapid.IntRange(0, len(reader.Events)-1).Draw(t, "damaged event"))
			return true
		}
	}
	return false
}

// sendAt finds the send at a seq of the history.
func (r *run) sendAt(room *Room, seq int64) *Send {
	for _, e := range room.History {
		if e.Seq == seq {
			return r.send(e.ID)
		}
	}
	return nil
}

// everybodyReads shows live readers what came since, so that they do not give the damage away.
func (r *run) everybodyReads(room *Room) {
	for i := range r.Readers {
		if reader := &r.Readers[i]; reader.Live && reader.Room == room.Name {
			e := room.History[len(room.History)-1]
			reader.Events = append(slices.Clone(reader.Events), Seen{e.Seq, e.Digest})
		}
	}
}

// swap exchanges the seqs of two accepted sends on all sides, and for all readers.
func (r *run) swap(a, b *Send) {
	other := func(seq int64) int64 {
		switch seq {
		case a.Seq:
			return b.Seq
		case b.Seq:
			return a.Seq
		}
		return seq
	}
	room := r.room(a.Room)
	for _, side := range []*[]Event{&room.History, &room.Stored} {
		for i := range *side {
			(*side)[i].Seq = other((*side)[i].Seq)
		}
	}
	for i := range room.Keys {
		room.Keys[i].Seq = other(room.Keys[i].Seq)
	}
	slices.SortFunc(room.History, func(a, b Event) int { return int(a.Seq - b.Seq) })
	for i := range r.Readers {
		if reader := &r.Readers[i]; reader.Room == room.Name {
			for k := range reader.Events {
				seq := reader.Events[k].Seq
				reader.Events[k].Digest = room.History[seq-1].Digest
			}
		}
	}
	a.Seq, b.Seq = b.Seq, a.Seq
}

// alter changes the content at a seq: in the history (1), in the table (2), for the readers (4).
func (r *run) alter(room *Room, seq int64, sides int) {
	digest := DigestOf("", "", "altered", began, "message")
	if sides&1 != 0 {
		for i := range room.History {
			if room.History[i].Seq == seq {
				room.History[i].Digest = digest
			}
		}
	}
	if sides&2 != 0 || sides == 4 { // nobody may have read it
		for i := range room.Stored {
			if room.Stored[i].Seq == seq {
				room.Stored[i].Digest = digest
			}
		}
	}
	if sides&4 != 0 {
		for i := range r.Readers {
			for k := range r.Readers[i].Events {
				if r.Readers[i].Room == room.Name && r.Readers[i].Events[k].Seq == seq {
					r.Readers[i].Events[k].Digest = digest
				}
			}
		}
	}
}
