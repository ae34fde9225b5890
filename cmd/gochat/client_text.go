package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// clean makes a text of somebody else safe to print on one line of a terminal: what could move the cursor, change the
// terminal or turn the direction of writing becomes U+FFFD.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', // C0, DEL, C1; line and paragraph separators
			r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f', r == '\u061c':
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cleanText is clean for a text of several lines. The lines after the first are set off, so that none of them can pass
// for a message of its own.
func cleanText(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n    | ")
}

func cleanList(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = clean(n)
	}
	return strings.Join(out, ", ")
}

// eventLine is an event for people: when, who, what. Other days than today are named.
func eventLine(e frame.Event, now time.Time) string {
	at := e.SentAt.In(now.Location())
	format := "15:04"
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		format = "2006-01-02 15:04"
	}
	if e.Kind != "message" {
		return fmt.Sprintf("%s %s: (%s)", at.Format(format), clean(e.From), clean(e.Kind))
	}
	return fmt.Sprintf("%s %s: %s", at.Format(format), clean(e.From), cleanText(e.Text))
}

// seqRange is #4, or #4 to #6.
func seqRange(from, to int64) string {
	if from == to {
		return fmt.Sprintf("#%d", from)
	}
	return fmt.Sprintf("#%d to #%d", from, to)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lockedWriter lets several goroutines write whole lines to one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// isTerminal tells whether a reader or writer is a person's terminal.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// inputLine is a line of standard input without its end.
type inputLine struct {
	number int
	text   string
	bytes  int // of the whole line; above len(text) where it was cut
}

// keepBytes is how much of a line is kept: enough to know that it is too long.
const keepBytes = frame.MaxText + 1

// readLines sends the lines of r until its end, or until stop is closed. The channel is closed at the end. A read that
// blocks cannot be interrupted: its goroutine then lives as long as the process.
func readLines(r io.Reader, stop <-chan struct{}) <-chan inputLine {
	lines := make(chan inputLine)
	go func() {
		defer close(lines)
		block := make([]byte, 32<<10)
		line := inputLine{number: 1}
		var kept []byte
		emit := func() bool {
			line.text = strings.TrimSuffix(string(kept), "\r")
			if line.bytes <= keepBytes {
				line.bytes = len(line.text)
			}
			select {
			case lines <- line:
			case <-stop:
				return false
			}
			line, kept = inputLine{number: line.number + 1}, kept[:0]
			return true
		}
		for {
			n, err := r.Read(block)
			for _, b := range block[:n] {
				if b == '\n' {
					if !emit() {
						return
					}
					continue
				}
				if line.bytes++; line.bytes <= keepBytes {
					kept = append(kept, b)
				}
			}
			if err != nil {
				if line.bytes > 0 {
					emit()
				}
				return
			}
		}
	}()
	return lines
}
