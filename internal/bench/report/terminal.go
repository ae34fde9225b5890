package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

const (
	usualColumns = 80
	leastBar     = 10 // columns
	mostBar      = 60
)

// WritePlot draws the headline figures in text: a bar for each subject, and a row of blocks for what was looked at over
// time. columns is the terminal's width, 0: unknown. Without colours there are no escape sequences.
func (r *Report) WritePlot(w io.Writer, columns int, colours bool) error {
	if columns == 0 {
		columns = usualColumns
	}
	d := textPlot{columns: columns, colours: colours}
	for _, name := range r.Headline {
		d.bars(r, name)
	}
	for _, of := range r.series() {
		d.overTime(r, of)
	}
	if d.spread {
		d.b.WriteString("\n█ up to the least of the rounds, ┃ their median, ▒ up to the most\n")
	}
	_, err := io.WriteString(w, d.b.String())
	return err
}

type textPlot struct {
	columns int
	colours bool
	b       strings.Builder
	spread  bool // a bar shows one
}

// textColours are the foregrounds of the subjects: blue, yellow, cyan, magenta.
var textColours = []string{"34", "33", "36", "35"}

func (d *textPlot) paint(text string, subject int) string {
	if !d.colours {
		return text
	}
	return "\x1b[" + textColours[subject%len(textColours)] + "m" + text + "\x1b[0m"
}

// bars draws one figure of all subjects that have it.
func (d *textPlot) bars(r *Report, figure string) {
	unit, ok := r.unit(figure)
	if !ok {
		return
	}
	heading := figure
	if unit != "" {
		heading += ", " + unit
	}
	fmt.Fprintf(&d.b, "\n%s\n", heading)
	most, names, numbers := 0.0, 0, 0
	for _, s := range r.Summary {
		if s.Figure == figure {
			most, names, numbers = max(most, s.Over.Max), max(names, utf8.RuneCountInString(s.Subject)), max(numbers, len(Number(s.Over.Median)))
		}
	}
	columns := min(max(d.columns-names-numbers-len("      "), leastBar), mostBar)
	for i, subject := range r.subjects() {
		s, ok := r.Find(subject, figure)
		if !ok {
			continue
		}
		gap := strings.Repeat(" ", names-utf8.RuneCountInString(subject))
		fmt.Fprintf(&d.b, "  %s%s  %*s  %s\n", subject, gap, numbers, Number(s.Over.Median), d.paint(d.bar(s.Over, most, columns), i))
	}
}

// bar shows a spread, where the most of all bars fills the columns.
func (d *textPlot) bar(s stats.Spread, most float64, columns int) string {
	at := func(v float64) int {
		if most <= 0 {
			return 0
		}
		return max(0, int(math.Round(v/most*float64(columns))))
	}
	least, median, end := at(s.Min), at(s.Median), at(s.Max)
	if least == end {
		return strings.Repeat("█", end)
	}
	d.spread = true
	median = min(max(median, least), end-1)
	return strings.Repeat("█", least) + strings.Repeat("▒", median-least) + "┃" + strings.Repeat("▒", end-median-1)
}

var blocks = []rune("▁▂▃▄▅▆▇█")

// overTime draws a row of blocks for each round: the mean of each column's time, from 0 to the most of all rounds.
func (d *textPlot) overTime(r *Report, of Series) {
	most := 0.0
	for _, round := range r.Rounds {
		for _, s := range round.Series {
			if s.Name == of.Name {
				for _, at := range s.Points {
					most = max(most, at.Value)
				}
			}
		}
	}
	fmt.Fprintf(&d.b, "\n%s, %s over time\n", of.Name, of.Unit)
	for _, round := range r.Rounds {
		for _, s := range round.Series {
			if s.Name != of.Name || len(s.Points) == 0 {
				continue
			}
			first, last := s.Points[0], s.Points[len(s.Points)-1]
			label := fmt.Sprintf("round %d", round.Number)
			if round.Subject != r.first() {
				label += ", " + round.Subject
			}
			fmt.Fprintf(&d.b, "  %s  %s  %s to %s, %s s\n", label, d.paint(row(s.Points, most, min(max(d.columns-len(label)-30, leastBar), mostBar)), 0),
				Number(first.Value), Number(last.Value), Number(last.Seconds))
		}
	}
}

// row has a block for each group of points, at most as many as there are columns.
func row(points []Sample, most float64, columns int) string {
	columns = min(columns, len(points))
	var b strings.Builder
	for c := range columns {
		part := points[c*len(points)/columns : (c+1)*len(points)/columns]
		sum := 0.0
		for _, p := range part {
			sum += p.Value
		}
		level := 0
		if most > 0 {
			level = int(math.Round(sum / float64(len(part)) / most * float64(len(blocks)-1)))
		}
		b.WriteRune(blocks[min(max(level, 0), len(blocks)-1)])
	}
	return b.String()
}
