package torture

import (
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

// Mutant is a known bug that the torture test must find. Package mutant switches it on.
type Mutant struct {
	Name   string
	What   string        // is wrong
	Faults []string      // that bring it to light
	For    time.Duration // at most; a run of so long must find it
	Finds  []string      // kinds of violations, of which one at least must be found
}

// Mutants lists the bugs. In split mode, since most live between processes.
func Mutants() []Mutant {
	const short, long = 12 * time.Second, 30 * time.Second
	all := func(kind string, targets ...string) (out []string) {
		for _, t := range targets {
			out = append(out, kind+":"+t)
		}
		return out
	}
	join := func(lists ...[]string) (out []string) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	none := []string{"none"}
	// What one persister holds is lost with the queue and the process, while the other one stores what follows. A broker that
	// is wiped does not do: hardly anything is in its queue alone, and what persisters hold they store.
	heldLost := join(all("stall", "persister-1→postgres", "persister-2→postgres"), all("kill", persisterNames...), all("delete queue", brokerName))
	gone := []string{check.KindLost, check.KindGap}
	return []Mutant{
		{
			"async-commit", "`accepted` is sent when the commit is not on disk yet", all("kill server", postgresName), long,
			[]string{check.KindLost, check.KindDuplicated, check.KindDisagree, check.KindAltered},
		},
		{
			"forget-published", "a row leaves the outbox when the broker has it, not when it is stored", heldLost, long, gone,
		},
		{
			"mark-before-confirm", "rows are marked, and forgotten, before the broker has confirmed them", all("kill server", brokerName), long, gone,
		},
		{
			"unroutable-is-published", "a returned message counts as published, and is forgotten", all("delete queue", brokerName), long, gone,
		},
		{
			"ack-before-insert", "the persister acknowledges before its insert is committed, and the outbox has forgotten",
			join(all("crash", persisterNames...), all("kill server", postgresName)), long, gone,
		},
		{
			"no-conflict-clause", "the insert does not expect an event twice", none, short, []string{check.KindDeadLetter},
		},
		{
			"cursor-over-ids", "the relay remembers the highest id that it saw, though ids become visible out of order", none, short,
			[]string{check.KindLost, check.KindUnstored},
		},
		{
			"no-room-lock", "the seq is taken without the room's lock, and the outbox's unique key does not object", none, short,
			[]string{check.KindLost, check.KindDuplicated},
		},
		{
			"no-idempotency-key", "a retry is taken for a new message", none, short, []string{check.KindDuplicated},
		},
		{
			"fetch-before-subscribe", "what is said between reading the backlog and following the room is not shown",
			join(all("cut", "clients→chatroom-1", "clients→chatroom-2")), long, []string{check.KindGap},
		},
		{
			"poison-on-shutdown", "what is in work when the persister stops is taken for poison",
			// Without its database a persister has something in work that it cannot end.
			join(all("stop", persisterNames...), all("refuse", "persister-1→postgres", "persister-2→postgres")), long,
			[]string{check.KindDeadLetter},
		},
		{
			"fanout-not-repaired", "what the fan-out lost is not read from the database",
			join(all("cut", "chatroom-1→rabbitmq", "chatroom-2→rabbitmq"), all("stop server", brokerName)), long, []string{check.KindGap},
		},
		{
			"unknown-is-refused", "a commit whose answer was lost is told as refused",
			all("answer lost", "chatroom-1→postgres", "chatroom-2→postgres"), long, []string{check.KindRefused},
		},
		{
			"mark-over-holes", "the stored mark passes over holes, and rows leave the outbox by it", heldLost, long, gone,
		},
		{
			"slow-reader-skips", "a reader who fell off the recent events goes on at the head",
			join(all("refuse", "clients→chatroom-1", "clients→chatroom-2")), long, []string{check.KindGap},
		},
	}
}

// Found tells whether a run of the mutant found it: by what it is, and not only by a system that does not come to rest.
func (m Mutant) Found(v check.Verdict) bool {
	for _, violation := range v.Violations {
		if slices.Contains(m.Finds, violation.Kind) {
			return true
		}
	}
	return false
}
