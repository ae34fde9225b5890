//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rafaeldepontes/go-chat/internal/bench"
)

// benchDisplay tells how a measurement goes: on a terminal in one line that is written over, elsewhere in a line for each
// round.
type benchDisplay struct {
	out      io.Writer
	terminal bool
	width    int

	mu   sync.Mutex // guards the fields below
	line bool       // a line stands that can be written over
	last string
	told time.Time
}

func newBenchDisplay(out io.Writer) *benchDisplay {
	d := &benchDisplay{out: out, width: 80}
	if f, ok := out.(*os.File); ok {
		d.terminal = term.IsTerminal(int(f.Fd()))
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			d.width = width
		}
	}
	return d
}

func (d *benchDisplay) progress(p bench.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stage := p.Scenario
	if p.Round > 0 {
		stage = fmt.Sprintf("%s %d/%d %s", p.Scenario, p.Round, p.Rounds, p.Subject)
	}
	if !d.terminal && stage == d.last && time.Since(d.told) < quietBench {
		return
	}
	d.last, d.told = stage, time.Now()
	line := stage
	if p.Text != "" {
		line += " · " + p.Text
	}
	if stage == "" {
		line = p.Text
	}
	d.clear()
	if d.terminal && utf8.RuneCountInString(line) > d.width {
		line = string([]rune(line)[:d.width-1]) + "…" // a line that wraps cannot be written over
	}
	fmt.Fprint(d.out, line)
	if d.line = d.terminal; !d.line {
		fmt.Fprintln(d.out)
	}
}

// quietBench is how often something is told where there is no terminal.
const quietBench = 10 * time.Second

func (d *benchDisplay) clear() {
	if d.line {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.line = false
	}
}

func (d *benchDisplay) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}
