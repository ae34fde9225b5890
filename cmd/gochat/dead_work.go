package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/persister"
)

// progressEvery is how often a long work tells on standard error how far it is.
const progressEvery = 2 * time.Second

// deadWork is one call of gochat dead.
type deadWork struct {
	// Immutable.
	std     stdio
	verb    string
	verdict bus.Verdict
	query   deadQuery
	json    bool
	yes     bool
	all     bool
	copies  *copies // what must not be dropped by the way
	began   time.Time

	seen, chosen, hopeless int
	precious               int       // not dropped: the only copies of accepted messages, perhaps
	found                  []string  // keys of what was chosen
	stopped                bool      // nothing more was looked at
	told                   time.Time // of the last progress
	failed                 error     // of writing
}

// run tells of the chosen letters, one by one as they come, and does what was asked for.
func (w *deadWork) run(ctx context.Context, queue deadQueue) error {
	w.told = w.began
	done, err := queue.Scan(ctx, func(l events.DeadLetter) (bus.Verdict, bool) { return w.visit(ctx, l) })
	if err == nil {
		err = w.failed
	}
	// What was done is told also where the rest failed.
	w.summary(done, err)
	if err == nil && !w.stopped {
		err = w.unknownKeys()
	}
	return err
}

// unknownKeys is an error where a letter was named that is not there.
func (w *deadWork) unknownKeys() error {
	var unknown []string
	for _, key := range w.query.keys {
		if !slices.Contains(w.found, key) {
			unknown = append(unknown, clean(key))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return fmt.Errorf("dead %s: no letter %s that fits; gochat dead list tells the keys", w.verb, strings.Join(unknown, ", "))
}

func (w *deadWork) visit(ctx context.Context, l events.DeadLetter) (v bus.Verdict, more bool) {
	w.seen++
	if time.Since(w.told) > progressEvery {
		w.told = time.Now()
		fmt.Fprintf(w.std.err, "gochat: %s looked at, %d chosen\n", count(w.seen, "letter"), w.chosen)
	}
	evs, bad := l.Events()
	if !w.query.matches(l, evs) {
		return bus.Keep, true
	}
	w.chosen++
	w.found = append(w.found, l.Key)
	more = w.query.limit == 0 || w.chosen < w.query.limit
	w.stopped = !more
	would := w.verdict
	if would == bus.Replay && bad != nil {
		would = bus.Keep
		w.hopeless++
	}
	note := w.replayNote(l)
	if would == bus.Drop {
		if note = w.copies.warning(ctx, l, evs); note != "" && !w.all && !w.query.named(l) {
			would = bus.Keep
			w.precious++
		}
	}
	if w.failed = w.tell(l, evs, bad, would, note); w.failed != nil {
		return bus.Keep, false
	}
	if !w.yes {
		would = bus.Keep
	}
	return would, more
}

// tell prints a letter. A replay or a drop that is really done prints only what it cannot do, and what is worth a warning.
func (w *deadWork) tell(l events.DeadLetter, evs []events.MessageSent, bad error, would bus.Verdict, note string) error {
	if w.json {
		o := w.object(l, evs, bad, would)
		o.Warning = note
		b, err := json.Marshal(o)
		if err == nil {
			_, err = w.std.out.Write(append(b, '\n'))
		}
		return err
	}
	var b strings.Builder
	switch {
	case w.verb == "show":
		showLetter(&b, l, evs, bad)
	case w.verdict == bus.Replay && would == bus.Keep:
		why := ""
		if text := clean(bad.Error()); !strings.Contains(clean(l.Reason), text) {
			why = ": " + text
		}
		fmt.Fprintf(&b, "stays   %s (it would come back%s)\n", letterLine(l, evs), why)
	case w.verdict == bus.Drop && would == bus.Keep:
		fmt.Fprintf(&b, "stays   %s (%s)\n", letterLine(l, evs), note)
	case w.yes && (note == "" || w.verdict == bus.Replay):
		return nil
	case w.verdict == bus.Keep:
		fmt.Fprintln(&b, letterLine(l, evs))
	default:
		if note != "" {
			note = " (" + note + ")"
		}
		fmt.Fprintf(&b, "%-7s %s%s\n", w.verb, letterLine(l, evs), note)
	}
	_, err := w.std.out.Write([]byte(b.String()))
	return err
}

// replayNote says what will probably become of a replayed event.
func (w *deadWork) replayNote(l events.DeadLetter) string {
	if w.verdict == bus.Replay && strings.Contains(l.Reason, persister.ErrConflict.Error()) {
		return "comes back, unless the stored event has been mended"
	}
	return ""
}

func (w *deadWork) summary(done bus.Scanned, err error) {
	out := w.std.err
	if (w.json || w.verdict == bus.Keep) && (err == nil || done.Seen > 0) {
		fmt.Fprintf(out, "gochat: %d of %s\n", w.chosen, count(done.There, "letter"))
	}
	if done.Seen < done.There && err == nil && (w.query.limit == 0 || w.chosen < w.query.limit) {
		fmt.Fprintf(out, "gochat: only the first %d of %d were looked at\n", done.Seen, done.There)
	}
	if w.verdict == bus.Keep {
		return
	}
	text := fmt.Sprintf("would %s %s; --yes does it", w.verb, count(w.chosen-w.hopeless-w.precious, "letter"))
	if w.yes {
		past := map[bus.Verdict]string{bus.Replay: "replayed", bus.Drop: "dropped"}[w.verdict]
		text = fmt.Sprintf("%s %s", past, count(done.Replayed+done.Dropped, "letter"))
	}
	if w.hopeless > 0 {
		text += fmt.Sprintf("; %s would come back and stays: show and drop are for that", count(w.hopeless, "letter"))
	}
	if w.precious > 0 {
		text += fmt.Sprintf("; %s stays as the only copy of what was accepted, perhaps: its key or --all drops it", count(w.precious, "letter"))
	}
	if w.json {
		fmt.Fprintln(out, "gochat: "+text)
		return
	}
	fmt.Fprintln(w.std.out, text)
}

// letterLine is a letter for people, without the text of its message.
func letterLine(l events.DeadLetter, evs []events.MessageSent) string {
	what := "no readable event"
	if len(evs) > 0 {
		e := evs[0]
		what = fmt.Sprintf("%s #%d %s from %s", clean(e.Room), e.Seq, clean(e.ID), clean(e.From))
		if len(evs) > 1 {
			what += fmt.Sprintf(" and %d more", len(evs)-1)
		}
	}
	return fmt.Sprintf("%s  %s  %s  %s: %s", l.Key, firstSeen(l), attempts(l), what, clean(l.Reason))
}

func firstSeen(l events.DeadLetter) string {
	if l.FirstSeen.IsZero() {
		return "at an unknown time"
	}
	return l.FirstSeen.UTC().Format("2006-01-02T15:04:05Z")
}

func attempts(l events.DeadLetter) string {
	if l.Attempts == 0 {
		return "attempts unknown"
	}
	return count(l.Attempts, "attempt")
}

func showLetter(b *strings.Builder, l events.DeadLetter, evs []events.MessageSent, bad error) {
	fmt.Fprintf(b, "letter %s\n  reason      %s\n  first seen  %s\n  attempts    %s\n", l.Key, clean(l.Reason), firstSeen(l), attempts(l))
	for _, line := range []struct{ name, value string }{{"event", l.ID + " " + l.Type}, {"came in", l.Carrier + " " + l.Topic}} {
		if value := strings.TrimSpace(clean(line.value)); value != "" {
			fmt.Fprintf(b, "  %-10s  %s\n", line.name, value)
		}
	}
	for _, e := range evs {
		fmt.Fprintf(b, "  %s #%d %s\n    from %s at %s\n    %s\n", clean(e.Room), e.Seq, clean(e.ID), clean(e.From),
			e.SentAt.UTC().Format(time.RFC3339Nano), cleanText(e.Text))
	}
	if bad != nil {
		fmt.Fprintf(b, "  not readable: %s\n  its bytes: %s\n", clean(bad.Error()), clean(strings.ToValidUTF8(string(l.Body), "\uFFFD")))
	}
}

// letterJSON is a line of --json.
type letterJSON struct {
	Key       string          `json:"key"`
	Reason    string          `json:"reason"`
	Attempts  int             `json:"attempts,omitempty"` // absent: not known
	FirstSeen *time.Time      `json:"first_seen,omitempty"`
	EventID   string          `json:"event_id"`
	Type      string          `json:"type"`
	Carrier   string          `json:"message_id"`
	Topic     string          `json:"topic"`
	Events    []eventJSONLine `json:"events"`
	Malformed string          `json:"malformed,omitempty"`
	Action    string          `json:"action,omitempty"`      // replay, drop, or keep where a replay would come back, or a drop lose what was accepted
	Warning   string          `json:"warning,omitempty"`     // what replay or drop would do that is not wanted
	Body      string          `json:"body,omitempty"`        // of show: the bytes, where they are text
	Body64    []byte          `json:"body_base64,omitempty"` // of show: otherwise
}

type eventJSONLine struct {
	Room   string    `json:"room"`
	Seq    int64     `json:"seq"`
	ID     string    `json:"id"`
	From   string    `json:"from"`
	SentAt time.Time `json:"sent_at"`
	Text   *string   `json:"text,omitempty"` // of show
}

func (w *deadWork) object(l events.DeadLetter, evs []events.MessageSent, bad error, would bus.Verdict) letterJSON {
	o := letterJSON{
		Key: l.Key, Reason: l.Reason, Attempts: l.Attempts, EventID: l.ID, Type: l.Type, Carrier: l.Carrier, Topic: l.Topic,
		Events: make([]eventJSONLine, len(evs)),
	}
	if !l.FirstSeen.IsZero() {
		o.FirstSeen = &l.FirstSeen
	}
	for i, e := range evs {
		o.Events[i] = eventJSONLine{Room: e.Room, Seq: e.Seq, ID: e.ID, From: e.From, SentAt: e.SentAt}
		if w.verb == "show" {
			o.Events[i].Text = &e.Text
		}
	}
	if bad != nil {
		o.Malformed = bad.Error()
	}
	switch {
	case w.verdict == bus.Keep:
	case would == bus.Keep:
		o.Action = "keep"
	default:
		o.Action = w.verb
	}
	if w.verb == "show" && utf8.Valid(l.Body) {
		o.Body = string(l.Body)
	} else if w.verb == "show" {
		o.Body64 = l.Body
	}
	return o
}
