package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARightRunPasses(t *testing.T) {
	v := Check(small().Journal, small().State)
	want := Verdict{
		Sent: 8, Accepted: 5, Unknown: 2, Refused: 1, Stored: 6,
		Violations:   []Violation{},
		Linearizable: "ok: 6 of 6 ops in 2 rooms",
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if !v.OK() {
		t.Error("a right run is not OK")
	}
	if got, want := v.String(), "sent 8 · accepted 5 · stored 6 · lost 0 · duplicated 0 · out of order 0 · gaps 0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// drop takes the event with a seq out of a side, and leaves the others where they are.
func drop(list *[]Event, seq int64) {
	*list = slices.DeleteFunc(slices.Clone(*list), func(e Event) bool { return e.Seq == seq })
}

func dropKey(list *[]Key, seq int64) {
	*list = slices.DeleteFunc(slices.Clone(*list), func(k Key) bool { return k.Seq == seq })
}

// Each case breaks one thing in the run by hand. All kinds that must be found for it are named, and no other may be.
func TestEachViolationIsFoundAndNamed(t *testing.T) {
	other := DigestOf("m2", "ann", "another text", began, "message")
	cases := []struct {
		name   string
		change func(r *run, ops *Room)
		kinds  string // of Verdict.Violations, without repetition
		says   string // some violation's text has this
	}{
		{"lost everywhere", func(r *run, ops *Room) {
			drop(&ops.History, 2)
			drop(&ops.Stored, 2)
			dropKey(&ops.Keys, 2)
			r.Readers = nil
		}, "lost, gap", "ann sent m2 to ops at 4ms and read at 8ms that it was accepted with seq 2, but it is not in the history, the table persister.messages and the keys chatroom.accepted."},
		{"the newest lost, and nobody has a trace of it", func(r *run, _ *Room) {
			dev := r.room("dev")
			*dev = Room{Name: "dev"}
			r.Readers = r.Readers[:3]
		}, "lost", "ann sent m8 to dev"},
		{"a room lost", func(r *run, _ *Room) {
			r.Rooms = r.Rooms[:1]
			r.Readers = r.Readers[:3]
		}, "lost", "ann sent m8 to dev"},
		{"not in the history", func(r *run, ops *Room) {
			drop(&ops.History, 2)
			r.Readers = nil
		}, "lost, gap", "it is not in the history."},
		{"not in the table", func(_ *run, ops *Room) { drop(&ops.Stored, 2) }, "lost, gap", "it is not in the table persister.messages."},
		{"no key", func(_ *run, ops *Room) { dropKey(&ops.Keys, 2) }, "lost, gap", "it is not in the keys chatroom.accepted."},
		{"an unknown outcome on one side only", func(_ *run, ops *Room) { drop(&ops.Stored, 5) }, "gap", "The room ops has nothing at seq 5 in the table persister.messages; its head is 5."},
		{"lost, and another has its place", func(r *run, ops *Room) {
			r.Sends = append(r.Sends, Send{Sender: "ann", ID: "m9", Room: "ops", First: 9e6, Accepted: 12e6, Seq: 4})
		}, "lost, duplicated", "it is not in the history, the table persister.messages and the keys chatroom.accepted; at seq 4 the history has m4 of bob."},
		{"an accepted message once more", func(r *run, ops *Room) {
			r.committed(r.send("m2"), 20)
			r.Readers = nil
		}, "duplicated", "accepted with seq 2; it is there once more at seq 6, in the history, the table persister.messages and the keys chatroom.accepted."},
		{"an unknown outcome twice", func(r *run, ops *Room) {
			r.committed(r.send("m6"), 20)
			r.Readers = nil
		}, "duplicated", "bob sent m6 to ops at 12ms and never read an answer; it is there twice, at seq 5 and at seq 6"},
		{"a row twice", func(_ *run, ops *Room) { ops.Stored = append(ops.Stored, ops.Stored[1]) }, "duplicated", "Seq 2 of ops was given more than once (history 1, table 2, keys 1, accepted sends 1): m2 of ann in"},
		{"one seq for two", func(r *run, ops *Room) {
			for _, side := range []*[]Event{&ops.History, &ops.Stored} {
				(*side)[2].Seq = 2
			}
			ops.Keys[2].Seq = 2
			r.send("m3").Seq = 2
			r.Readers = nil
		}, "duplicated, gap", "(history 2, table 2, keys 2, accepted sends 2): m2 of ann in the history"},
		{"out of order", func(r *run, ops *Room) {
			m1, m4 := r.send("m1"), r.send("m4")
			m1.Seq, m4.Seq = 4, 1
			for _, side := range []*[]Event{&ops.History, &ops.Stored} {
				s := *side
				s[0], s[3] = s[3], s[0]
				s[0].Seq, s[3].Seq = 1, 4
			}
			ops.Keys[0].Seq, ops.Keys[3].Seq = 4, 1
			r.Readers = nil
		}, "out of order", "bob sent m4 to ops at 9ms, after m1 of ann had been accepted at 3ms, and yet it has seq 1, below seq 4 of the earlier one."},
		{"an unknown outcome out of order", func(r *run, _ *Room) {
			r.Sends = append(r.Sends, Send{Sender: "ann", ID: "m9", Room: "ops", First: 1, Accepted: 2})
			m9 := r.send("m9")
			e := r.committed(m9, 2)
			m9.Seq, m9.SentAt = e.Seq, e.SentAt
			for _, id := range []string{"m1", "m2", "m3", "m4"} {
				r.send(id).First = 1
			}
			r.Readers = nil
		}, "out of order", "bob sent m6 to ops at 12ms, after m9 of ann had been accepted at 2ns, and yet it has seq 5, below seq 6 of the earlier one."},
		{"history out of order", func(_ *run, ops *Room) { ops.History[0], ops.History[1] = ops.History[1], ops.History[0] }, "out of order", "The history of ops tells seq 1 after seq 2."},
		{"reader goes back", func(r *run, _ *Room) {
			e := r.Readers[0].Events
			e[1], e[2] = e[2], e[1]
		}, "out of order", "reader-1 was shown seq 2 of ops after seq 3."},
		{"reader sees one twice", func(r *run, _ *Room) {
			r.Readers[0].Events = slices.Insert(r.Readers[0].Events, 2, r.Readers[0].Events[1])
		}, "duplicated", "reader-1 was shown seq 2 of ops though it had everything up to seq 2."},
		{"reader sees what it has from before", func(r *run, ops *Room) {
			r.Readers[1].Events = slices.Insert(r.Readers[1].Events, 0, Seen{2, ops.History[1].Digest})
		}, "duplicated", "reader-2 was shown seq 2 of ops"},
		{"hole for a reader", func(r *run, _ *Room) {
			r.Readers[2].Events = slices.Delete(r.Readers[2].Events, 0, 2)
		}, "gap", "reader-3, which reads ops from seq 1 on, was never shown seqs 1 to 2, but was shown what follows."},
		{"a reader sees some of a hole later", func(r *run, _ *Room) {
			e := r.Readers[0].Events
			r.Readers[0].Events = []Seen{e[0], e[4], e[2]}
		}, "out of order, gap", "reader-1, which reads ops from seq 1 on, was never shown seq 2, but was shown what follows."},
		{"reader not at the head", func(r *run, _ *Room) {
			r.Readers[1].Events = r.Readers[1].Events[:2]
		}, "gap", "reader-2 was connected to the end, but the last event of ops that it was shown is seq 4, and the head is 5."},
		{"reader without anything", func(r *run, _ *Room) { r.Readers[3].Events = nil }, "gap", "reader-4"},
		{"reader sees another text", func(r *run, _ *Room) { r.Readers[0].Events[1].Digest = other }, "disagree", "reader-1 was shown something that nobody else has"},
		{"reader sees another message", func(r *run, ops *Room) { r.Readers[0].Events[1].Digest = ops.History[2].Digest }, "disagree",
			"reader-1 was shown m3 of bob (seq 3 of the history) as seq 2 of ops, and the history has m2 of ann there"},
		{"reader sees what is not committed", func(r *run, _ *Room) {
			r.Readers[0].Events = append(r.Readers[0].Events, Seen{6, other})
		}, "disagree", "as seq 6 of ops, and the history has nothing there."},
		{"a hole in the seqs", func(r *run, ops *Room) {
			for _, side := range []*[]Event{&ops.History, &ops.Stored} {
				(*side)[4].Seq = 9
			}
			ops.Keys[4].Seq = 9
			ops.Head = 9
			r.Readers = nil
		}, "gap", "The room ops has nothing at seqs 5 to 8 in the history, the table persister.messages and the keys chatroom.accepted; its head is 9."},
		{"head too high", func(r *run, ops *Room) { ops.Head++; r.Readers = nil }, "gap", "nothing at seq 6"},
		{"head too low", func(r *run, ops *Room) { ops.Head-- }, "head", "The head of ops is 4, but there is an event with seq 5."},
		{"another text", func(r *run, ops *Room) {
			ops.History[1].Digest, ops.Stored[1].Digest = other, other
			r.Readers = nil
		}, "altered", "accepted with seq 2, but at seq 2 its content is another one in the history"},
		{"another text of an unknown outcome", func(r *run, ops *Room) {
			ops.History[4].Digest, ops.Stored[4].Digest = other, other
			r.Readers = nil
		}, "altered", "bob sent m6 to ops at 12ms and never read an answer, but at seq 5 its content is another one"},
		{"another time", func(r *run, _ *Room) { s := r.send("m2"); s.SentAt = s.SentAt.Add(1) }, "altered",
			"and sent_at 2026-01-02T15:04:05.005000001Z, but sent_at is 2026-01-02T15:04:05.005Z in the history."},
		{"another seq", func(r *run, _ *Room) { m2, m3 := r.send("m2"), r.send("m3"); m2.Seq, m3.Seq = 3, 2 }, "altered", "ann sent m2 to ops at 4ms and read at 8ms that it was accepted with seq 3, but at seq 2 in the history, the table"},
		{"accepted without a seq", func(r *run, _ *Room) { r.send("m1").Seq = 0 }, "altered", "ops has a seq 0; seqs begin at 1."},
		{"history and table differ", func(_ *run, ops *Room) { ops.Stored[4].Digest = other }, "altered, disagree", "At seq 5 of ops the history and the table have m6 of bob with another content"},
		{"key of another", func(_ *run, ops *Room) { ops.Keys[4].ID, ops.Keys[4].Sender = "m5", "ann" }, "disagree", "Seq 5 of ops is not the same message everywhere: m6 of bob in the history and the table persister.messages; m5 of ann in the keys"},
		{"nobody sent it", func(r *run, _ *Room) {
			r.committed(&Send{Sender: "eve", ID: "x", Room: "ops"}, 20)
			r.Readers = nil
		}, "invented", "Seq 6 of ops is x of eve in the history, the table persister.messages and the keys chatroom.accepted, but nobody sent that."},
		{"in the wrong room", func(r *run, _ *Room) {
			s := *r.send("m2")
			s.Room = "dev"
			r.committed(&s, 20)
			r.Readers = nil
		}, "invented", "ann sent m2 to ops at 4ms, but it is in dev, at seq 2"},
		{"a refused one is there", func(r *run, _ *Room) {
			r.committed(r.send("m7"), 20)
			r.Readers = nil
		}, "refused", "bob sent m7 to ops at 14ms and was refused with too_large, but it is at seq 6"},
		{"unstored rows", func(_ *run, ops *Room) { ops.Waiting = []int64{4, 5, 3} }, "unstored", "At rest 3 rows of the outbox are not stored."},
		{"not stored yet", func(r *run, ops *Room) {
			drop(&ops.History, 5)
			drop(&ops.Stored, 5)
			drop(&ops.Stored, 4)
			ops.Waiting = []int64{5, 4}
		}, "unstored", "At rest 2 rows of the outbox are not stored."},
		{"in the outbox, and its key lost", func(_ *run, ops *Room) {
			dropKey(&ops.Keys, 4)
			ops.Waiting = []int64{4}
		}, "lost, gap, unstored", "it is not in the keys chatroom.accepted."},
		{"lost beside one that waits", func(r *run, ops *Room) {
			drop(&ops.Stored, 3)
			drop(&ops.Stored, 4)
			ops.Waiting = []int64{4}
		}, "lost, gap, unstored", "bob sent m3 to ops at 4ms and read at 7ms that it was accepted with seq 3, but it is not in the table persister.messages."},
		{"a good message among the dead letters", func(r *run, _ *Room) { r.DeadLetters = append(r.DeadLetters, "ops/2") }, "dead letter", "ops/2 is among the dead letters, and nobody planted it there."},
		{"a dead letter is lost", func(r *run, _ *Room) { r.DeadLetters = r.DeadLetters[:2] }, "dead letter", "dev/poison-2 was planted as a poison message, and is not among the dead letters."},
		{"a message twice in the journal", func(r *run, _ *Room) { r.Sends = append(r.Sends, *r.send("m5")) }, "broken journals", "The journal of ann is wrong: m5 is in it twice."},
		{"accepted before it was sent", func(r *run, _ *Room) { r.send("m1").Accepted = 1 }, "broken journals", "m1 was accepted at 1ns, before it was sent at 1ms."},
		{"accepted and refused", func(r *run, _ *Room) { r.send("m1").Refused = "forbidden" }, "broken journals", "both accepted and refused (forbidden)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := small()
			c.change(r, r.room("ops"))
			v := Check(r.Journal, r.State)
			if v.OK() {
				t.Fatalf("passed: %s", v)
			}
			var kinds, texts []string
			for _, violation := range v.Violations {
				kinds = append(kinds, violation.Kind)
				texts = append(texts, violation.Kind+": "+violation.Text)
			}
			got, all := strings.Join(slices.Compact(kinds), ", "), strings.Join(texts, "\n")
			if got != c.kinds {
				t.Errorf("found %q, want %q:\n%s", got, c.kinds, all)
			}
			if !strings.Contains(all, c.says) {
				t.Errorf("nothing says %q:\n%s", c.says, all)
			}
			if testing.Verbose() {
				t.Logf("%s\n%s\n%s", v, v.Linearizable, all)
			}
		})
	}
}
