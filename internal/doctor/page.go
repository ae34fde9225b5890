package doctor

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Page writes reports for people, a section after the other:
//
//	Database
//	  ✓ version   15.14
//	  ✗ fsync     off: a power cut may lose accepted messages
//	              → ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();
//
// Its methods are to be called from one goroutine; the first error of writing is kept for Close.
type Page struct {
	w       io.Writer
	colours bool
	columns int // 0: lines are not broken
	names   int // width of the column of names

	section string
	counts  map[Status]int
	err     error
}

// narrowest is what is left for a text on a terminal that is not wide enough.
const narrowest = 24

// NewPage makes a page for the reports of e. Lines are broken at columns; 0: never.
func NewPage(w io.Writer, e *Examination, colours bool, columns int) *Page {
	return &Page{w: w, colours: colours, columns: columns, names: e.width(), counts: make(map[Status]int)}
}

// Title writes the line above the sections.
func (p *Page) Title(text string) { p.write(text + "\n") }

// Tell writes one report.
func (p *Page) Tell(r Report) {
	if r.Section != p.section {
		p.section = r.Section
		p.write("\n" + p.paint("1", r.Section) + "\n")
	}
	p.counts[r.Status]++
	m := marks[r.Status]
	indent := 2 + 2 + p.names + 2
	pad := strings.Repeat(" ", p.names-utf8.RuneCountInString(r.Check))
	detail := strings.Join(p.fold(r.Detail, indent), "\n"+strings.Repeat(" ", indent))
	if r.Status == Skipped {
		detail = p.paint(m.colour, detail)
	}
	p.write("  " + p.paint(m.colour, m.sign) + " " + r.Check + pad + "  " + detail + "\n")
	if r.Remedy != "" {
		p.write(strings.Repeat(" ", indent) + "→ " + strings.Join(p.fold(r.Remedy, indent+2), "\n"+strings.Repeat(" ", indent+2)) + "\n")
	}
}

// Close writes the counts, and returns the first error of writing.
func (p *Page) Close() error {
	var words []string
	for _, s := range []Status{OK, Warn, Fail, Skipped} {
		if n := p.counts[s]; n > 0 {
			words = append(words, p.paint(marks[s].colour, fmt.Sprintf("%s %d %s", marks[s].sign, n, marks[s].word)))
		}
	}
	p.write("\n" + strings.Join(words, " · ") + "\n")
	return p.err
}

type mark struct {
	sign, word, colour string // the colour is a number of SGR
}

var marks = map[Status]mark{
	OK:      {"✓", "ok", "32"},
	Warn:    {"!", "to look at", "33"},
	Fail:    {"✗", "wrong", "31"},
	Skipped: {"–", "not checked", "2"},
}

func (p *Page) paint(colour, text string) string {
	if !p.colours {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// fold breaks a text at blanks, so that it fits beside an indent. A word that is too long stands alone.
func (p *Page) fold(text string, indent int) []string {
	if p.columns == 0 {
		return []string{text}
	}
	width := max(p.columns-indent, narrowest)
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

func (p *Page) write(text string) {
	_, err := io.WriteString(p.w, text)
	p.err = cmp.Or(p.err, err)
}
