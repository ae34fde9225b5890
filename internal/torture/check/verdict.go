package check

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of violations, in the order in which a verdict lists them.
const (
	KindLost           = "lost"            // accepted, and not in the history, the table or the keys, nor on its way there in the outbox
	KindDuplicated     = "duplicated"      // one message at two seqs, two at one seq, or an event that came twice to a reader
	KindOutOfOrder     = "out of order"    // a lower seq than a message that was accepted before it was sent; or a reader that went back
	KindGap            = "gap"             // seqs that are missing below the head, or that a reader was not shown
	KindAltered        = "altered"         // another text, sender, time or seq than was sent or accepted
	KindInvented       = "invented"        // nobody sent it, or not to this room
	KindRefused        = "refused"         // it is there though its sender was told that it never will be
	KindDisagree       = "disagree"        // readers, history, table and keys differ in what is at a seq
	KindHead           = "head"            // the head is not the highest seq
	KindUnstored       = "unstored"        // rows at rest in the outbox
	KindDeadLetter     = "dead letter"     // one that nobody planted, or a planted one that is missing
	KindNotLinearized  = "not linearized"  // porcupine finds no order where the linear pass found nothing wrong
	KindBrokenJournals = "broken journals" // the journals contradict themselves: the run proves nothing
)

var kinds = [...]string{
	KindLost, KindDuplicated, KindOutOfOrder, KindGap, KindAltered, KindInvented, KindRefused, KindDisagree, KindHead,
	KindUnstored, KindDeadLetter, KindNotLinearized, KindBrokenJournals,
}

// rank is the place of a kind among all kinds.
func rank(kind string) int { return slices.Index(kinds[:], kind) }

// Verdict is the outcome of a check: how much there was of everything, and what is wrong with it.
type Verdict struct {
	Sent     int `json:"sent"`
	Accepted int `json:"accepted"`
	Unknown  int `json:"unknown"` // neither accepted nor refused
	Refused  int `json:"refused"`
	Stored   int `json:"stored"` // rows of the table, so that it may be more than Accepted

	Lost       int `json:"lost"` // messages
	Duplicated int `json:"duplicated"`
	OutOfOrder int `json:"out_of_order"` // messages, and events that came late to a reader
	Gaps       int `json:"gaps"`         // holes, however wide
	Other      int `json:"other"`        // violations of all other kinds

	// Violations are the first of each kind, at most [MaxExplained], in the order of the kinds above.
	Violations []Violation `json:"violations"`

	// Linearizable is what porcupine says: ok, violated or unknown (out of time), and over how much.
	Linearizable string `json:"linearizable"`
}

// MaxExplained is how many violations of one kind a [Verdict] explains. All are counted.
const MaxExplained = 10

// Violation is one broken promise.
type Violation struct {
	Kind string `json:"kind"`
	Room string `json:"room,omitempty"`
	Seq  int64  `json:"seq,omitempty"`
	ID   string `json:"id,omitempty"` // of the send
	Text string `json:"text"`         // what happened, in a sentence
}

// OK tells whether nothing was violated.
func (v Verdict) OK() bool {
	return v.Lost+v.Duplicated+v.OutOfOrder+v.Gaps+v.Other == 0
}

// String is the verdict in one line. Other violations show only where there are some.
func (v Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent %d · accepted %d · stored %d · lost %d · duplicated %d · out of order %d · gaps %d",
		v.Sent, v.Accepted, v.Stored, v.Lost, v.Duplicated, v.OutOfOrder, v.Gaps)
	if v.Other > 0 {
		fmt.Fprintf(&b, " · other %d", v.Other)
	}
	return b.String()
}
