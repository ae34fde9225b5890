//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rafaeldepontes/go-chat/internal/torture"
)

// tortureDisplay tells how a run goes: a line for each fault, and the rate; on a terminal that is one line which is
// written over, elsewhere a line now and then.
type tortureDisplay struct {
	out      io.Writer
	terminal bool

	mu   sync.Mutex // guards the fields below
	told time.Time
	line bool // a line stands that can be written over
}

const quietTold = 5 * time.Second

func newTortureDisplay(out io.Writer, cfg torture.Config) *tortureDisplay {
	d := &tortureDisplay{out: out}
	if f, ok := out.(*os.File); ok {
		d.terminal = term.IsTerminal(int(f.Fd()))
	}
	fmt.Fprintf(out, "torture: %s mode, %s, seed %d\n", cfg.Mode, cfg.For, cfg.Seed)
	return d
}

func (d *tortureDisplay) progress(p torture.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Phase == "start" {
		fmt.Fprintln(d.out, "starting the installation")
		return
	}
	if !d.terminal && time.Since(d.told) < quietTold {
		return
	}
	d.told = time.Now()
	d.clear()
	line := fmt.Sprintf("%6s %-8s accepted %d (%.0f/s) · stored %.0f/s · waiting %d · p99 %.0f ms · clients %d+%d",
		clock(p.AtMS), p.Phase, p.Accepted, p.Sample.Accepted, p.Stored, p.Unstored, p.P99MS, p.Writers, p.Readers)
	if len(p.Active) > 0 {
		line += " · now: " + strings.Join(p.Active, ", ")
	}
	if width := d.width(); width > 0 && utf8.RuneCountInString(line) > width {
		line = string([]rune(line)[:width-1]) + "…" // a line that wraps cannot be written over
	}
	fmt.Fprint(d.out, line)
	if d.line = d.terminal; !d.line {
		fmt.Fprintln(d.out)
	}
}

// width is that of the terminal; 0 where there is none.
func (d *tortureDisplay) width() int {
	f, ok := d.out.(*os.File)
	if !ok || !d.terminal {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return width
}

func (d *tortureDisplay) fault(f torture.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	fmt.Fprintf(d.out, "%6s ✗ %s %s %s\n", clock(f.AtMS), f.Kind, f.Target, f.Note)
}

// clear makes room where a line stands that is to be written over.
func (d *tortureDisplay) clear() {
	if d.line {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.line = false
	}
}

func (d *tortureDisplay) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

// verdict tells the outcome.
func (d *tortureDisplay) verdict(r torture.Report) {
	for i, v := range r.Verdict.Violations {
		if i == 0 {
			fmt.Fprintln(d.out)
		}
		fmt.Fprintf(d.out, "✗ %s: %s\n", v.Kind, v.Text)
	}
	fmt.Fprintf(d.out, "\n%s · seed %d\nlinearizable: %s\n", r.Verdict, r.Seed, r.Verdict.Linearizable)
}

func clock(ms int64) string { return fmt.Sprintf("%d:%02d", ms/60_000, ms/1000%60) }
