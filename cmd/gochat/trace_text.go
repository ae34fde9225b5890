package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
)

// wayLine is one line of a way for people; a time that is nil is not told.
type wayLine struct {
	name string
	at   *time.Time
	note string
}

// text is the way for people: each time, and how long after the first one it was.
func (w *way) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "message %s from %s, %s #%d: %s\n", clean(w.ID), clean(w.Sender), clean(w.Room), w.Seq, clean(w.Verdict))
	var first *time.Time
	for _, l := range w.lines() {
		fmt.Fprintf(&b, "  %-10s ", l.name)
		if l.at == nil {
			fmt.Fprintf(&b, "%s\n", l.note)
			continue
		}
		b.WriteString(utcMillis(*l.at))
		if first == nil {
			first = l.at
		} else {
			fmt.Fprintf(&b, " %+dms", l.at.Sub(*first).Milliseconds())
		}
		if l.note != "" {
			fmt.Fprintf(&b, "  (%s)", l.note)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func utcMillis(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (w *way) lines() []wayLine {
	accepted := wayLine{"accepted", w.Accepted, ""}
	if w.Accepted == nil {
		accepted.note = "never, here"
	}
	lines := append([]wayLine{accepted}, w.stepLines()...)
	lines = append(lines, wayLine{"outbox", nil, w.outboxNote()})
	stored := wayLine{"stored", w.Stored, ""}
	if w.Stored == nil {
		stored.note = "no"
	}
	lines = append(lines, stored, wayLine{"room", nil, fmt.Sprintf("stored through #%d", w.Watermark)})
	for _, l := range w.Dead {
		lines = append(lines, wayLine{"dead", l.FirstSeen, fmt.Sprintf("letter %s, %s: %s", l.Key, count(l.Attempts, "attempt"), clean(l.Reason))})
	}
	switch {
	case w.DeadUnread != "":
		lines = append(lines, wayLine{"dead", nil, "not known: " + clean(w.DeadUnread)})
	case len(w.Dead) == 0:
		lines = append(lines, wayLine{"dead", nil, "no letter"})
	}
	return append(lines, w.serviceLines()...)
}

// stepLines are what the services remember, by time, and what is known without them.
func (w *way) stepLines() (lines []wayLine) {
	for _, s := range w.Steps {
		lines = append(lines, s.lines()...)
	}
	slices.SortStableFunc(lines, func(a, b wayLine) int { return a.at.Compare(*b.at) })
	if !w.remembers(flightrecorder.KindPublishing) {
		lines = append([]wayLine{w.publishedLine()}, lines...)
	}
	if !w.remembers(flightrecorder.KindDelivery) && !w.waits() {
		lines = append(lines, wayLine{"delivered", nil, w.unremembered("persister")})
	}
	return lines
}

func (w *way) remembers(kind string) bool {
	return slices.ContainsFunc(w.Steps, func(s wayStep) bool { return s.Kind == kind })
}

// waits tells whether the message was never published.
func (w *way) waits() bool { return w.InOutbox && w.Published == nil && w.Attempts == 0 }

func (w *way) publishedLine() wayLine {
	l := wayLine{name: "published"}
	switch {
	case !w.InOutbox && w.Accepted == nil:
		l.note = "not from here"
	case !w.InOutbox:
		l.note = w.unremembered("chatroom") + "; the outbox's row is gone"
	case w.waits():
		l.note = "not yet"
	case w.Published == nil:
		l.note = fmt.Sprintf("%d times before, and waits again", w.Attempts)
	default:
		l.at, l.note = w.Published, "and confirmed, "+count(w.Attempts, "time")
	}
	return l
}

func (w *way) outboxNote() string {
	switch {
	case w.Committed == nil && w.Accepted == nil:
		return "it has no row"
	case w.Committed == nil:
		return "its row is gone"
	}
	note := "its row is there since " + utcMillis(*w.Committed)
	if w.remembers(flightrecorder.KindPublishing) {
		note += fmt.Sprintf(", confirmed %s", count(w.Attempts, "time"))
	}
	return note
}

// unremembered says why no service of the name knows of the message.
func (w *way) unremembered(name string) string {
	asked, began := 0, cmp.Or(w.Accepted, w.Stored)
	for _, s := range w.Services {
		if s.Name != name && s.Name != "up" {
			continue
		}
		if asked++; began != nil && s.Since.After(*began) {
			return "not known: older than what the services remember"
		}
	}
	if asked == 0 {
		return "not known: no " + strings.Replace(name, "chatroom", "chat room", 1) + " could be asked; --admin names them"
	}
	return "not known to the " + count(asked, "service") + " that could be asked; --admin names all of them"
}

// serviceLines say what is wrong with the services that were asked, and what they cannot know any more.
func (w *way) serviceLines() (lines []wayLine) {
	for _, s := range w.Services {
		switch {
		case s.Unknown != "" && !s.quiet:
			lines = append(lines, wayLine{"asked", nil, s.URL + " tells nothing: " + clean(s.Unknown)})
		case s.Since != nil && w.Accepted != nil && s.Since.After(*w.Accepted):
			lines = append(lines, wayLine{"asked", nil, fmt.Sprintf("%s at %s remembers since %s only", clean(s.Name), s.URL, utcMillis(*s.Since))})
		}
	}
	return lines
}

// lines are the begin and the end of a step.
func (s wayStep) lines() []wayLine {
	begin := wayLine{"published", &s.Begun, fmt.Sprintf("%s at %s", clean(s.Service), s.URL)}
	if s.Kind == flightrecorder.KindDelivery {
		begin.name = "delivered"
		if s.Number > 1 {
			begin.note += fmt.Sprintf(", delivery %d of its message", s.Number)
		}
		if s.Try > 1 {
			begin.name = "retried"
			begin.note += fmt.Sprintf(", try %d", s.Try)
		}
	}
	if s.Ended == nil {
		begin.note += ", under way"
		return []wayLine{begin}
	}
	end := wayLine{clean(s.Outcome), s.Ended, clean(s.Reason)}
	switch {
	case s.Duplicate:
		end = wayLine{"handled", s.Ended, "it was stored already"}
	case s.Outcome == flightrecorder.OutcomeStored:
		end.name = "handled"
	case s.Outcome == flightrecorder.OutcomeFailed && s.Kind == flightrecorder.KindPublishing:
		end.note = "not published: " + end.note
	case s.Outcome == flightrecorder.OutcomeFailed:
		end.note = "not stored: " + end.note
	}
	return []wayLine{begin, end}
}
