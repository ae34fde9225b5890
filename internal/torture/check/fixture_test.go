package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

var began = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// run is a history under test. A side is changed by changing its slice.
type run struct {
	Journal
	State
}

// committed is what a right server makes of a send: the next seq on all sides.
func (r *run) committed(s *Send, at time.Duration) Event {
	room := r.room(s.Room)
	room.Head++
	sentAt := began.Add(at).Truncate(time.Millisecond)
	e := Event{Seq: room.Head, ID: s.ID, From: s.Sender, SentAt: sentAt,
		Digest: DigestOf(s.ID, s.Sender, s.Text, sentAt, events.KindMessage)}
	room.History = append(room.History, e)
	room.Stored = append(room.Stored, e)
	room.Keys = append(room.Keys, Key{Sender: s.Sender, ID: s.ID, Seq: e.Seq})
	return e
}

// room finds a room, and makes it if there is none. Making another one moves it.
func (r *run) room(name string) *Room {
	i := slices.IndexFunc(r.Rooms, func(room Room) bool { return room.Name == name })
	if i < 0 {
		r.Rooms = append(r.Rooms, Room{Name: name})
		i = len(r.Rooms) - 1
	}
	return &r.Rooms[i]
}

// read gives a reader the events from after+1 to to, and tells whether that is all.
func (r *run) read(name, room string, after, to int64) {
	reader := Reader{Name: name, Room: room, After: after, Live: to == r.room(room).Head}
	for _, e := range r.room(room).History[after:to] {
		reader.Events = append(reader.Events, Seen{Seq: e.Seq, Digest: e.Digest})
	}
	r.Readers = append(r.Readers, reader)
}

// send finds a send by its id.
func (r *run) send(id string) *Send {
	return &r.Sends[slices.IndexFunc(r.Sends, func(s Send) bool { return s.ID == id })]
}

// plan is one message of a generated run: when it was sent, committed (0: never) and answered (0: never).
type plan struct {
	sender, room                 string
	first, committed, acceptedAt time.Duration
	refused                      string
}

// runOf carries out plans as a right server would.
func runOf(plans []plan) *run {
	r := &run{}
	for i, p := range plans {
		r.room(p.room)
		r.Sends = append(r.Sends, Send{Sender: p.sender, ID: fmt.Sprintf("m%d", i+1), Room: p.room,
			Text: fmt.Sprintf("text %d", i+1), First: p.first, Tries: 1, Refused: p.refused})
	}
	order := make([]int, 0, len(plans))
	for i, p := range plans {
		if p.committed != 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(plans[a].committed, plans[b].committed) })
	for _, i := range order {
		s := &r.Sends[i]
		e := r.committed(s, plans[i].committed)
		if at := plans[i].acceptedAt; at != 0 {
			s.Accepted, s.Seq, s.SentAt = at, e.Seq, e.SentAt
		}
	}
	return r
}

// small is a run by hand: room ops has m1 to m4 and m6 at seqs 1 to 5, room dev has m8. Nobody knows whether m5 and m6
// arrived; m6 did. m7 was refused. m2 and m3 were under way together, all others one after the other.
func small() *run {
	const ms = time.Millisecond
	r := runOf([]plan{
		{sender: "ann", room: "ops", first: 1 * ms, committed: 2 * ms, acceptedAt: 3 * ms},
		{sender: "ann", room: "ops", first: 4 * ms, committed: 5 * ms, acceptedAt: 8 * ms},
		{sender: "bob", room: "ops", first: 4 * ms, committed: 6 * ms, acceptedAt: 7 * ms},
		{sender: "bob", room: "ops", first: 9 * ms, committed: 10 * ms, acceptedAt: 11 * ms},
		{sender: "ann", room: "ops", first: 12 * ms},
		{sender: "bob", room: "ops", first: 12 * ms, committed: 13 * ms},
		{sender: "bob", room: "ops", first: 14 * ms, refused: "too_large"},
		{sender: "ann", room: "dev", first: 14 * ms, committed: 15 * ms, acceptedAt: 16 * ms},
	})
	r.read("reader-1", "ops", 0, 5)
	r.read("reader-2", "ops", 2, 5)
	r.read("reader-3", "ops", 0, 3) // was cut off
	r.read("reader-4", "dev", 0, 1)
	r.DeadLetters = []string{"ops/poison-1", "ops/poison-1", "dev/poison-2"}
	r.Planted = []string{"dev/poison-2", "ops/poison-1"}
	return r
}
