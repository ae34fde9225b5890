package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Outcomes of a goal.
const (
	Met     = "met"
	NotMet  = "not met"
	NotRun  = "not run"
	Invalid = "invalid"
)

// Goal is one line of the table of goals.
type Goal struct {
	Text     string `json:"goal"`
	Want     string `json:"want"`
	Measured string `json:"measured"`
	Ratio    string `json:"ratio,omitempty"` // median, least and most of the rounds
	Outcome  string `json:"outcome"`
	Why      string `json:"why,omitempty"`
}

// WriteTable writes the summary for a person: the figures of each subject over the rounds, the ratios, and what the two
// sides used.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s · %s · %s\n%s\n\n", r.Scenario, r.Server, r.Machine, r.sizes())
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	heading := "\tfigure\tmedian\tleast\tmost"
	if len(r.subjects()) > 1 {
		heading += "\t" + r.first() + " ÷ this"
	}
	fmt.Fprintln(t, heading)
	subject := ""
	for _, s := range r.Summary {
		name := s.Subject
		if name == subject {
			name = ""
		}
		subject = s.Subject
		ratio := ""
		if s.Ratio != nil {
			ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", s.Ratio.Median, s.Ratio.Min, s.Ratio.Max)
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\t%s\t%s\n", name, s.Figure, Number(s.Over.Median), s.Unit, Number(s.Over.Min), Number(s.Over.Max), ratio)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteString("\n")
	for _, line := range r.usage() {
		b.WriteString(line + "\n")
	}
	notes := make(map[string]bool)
	for _, round := range r.Rounds {
		for _, n := range round.Notes {
			if line := "note: " + round.Subject + ": " + n; !notes[line] {
				notes[line] = true
				b.WriteString(line + "\n")
			}
		}
	}
	for _, text := range r.Invalid {
		b.WriteString("✗ not valid: " + text + "\n")
	}
	if r.Error != "" {
		b.WriteString("✗ " + r.Error + "\n")
	}
	_, err := io.WriteString(w, trimmed(b.String()))
	return err
}

// trimmed takes the blanks off the ends of lines that a table leaves there.
func trimmed(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// sizes are the parameters, in a fixed order.
func (r *Report) sizes() string {
	var parts []string
	for _, name := range []string{"rooms", "subscribers", "senders", "window", "lag", "rate", "text_bytes", "rows", "events", "of", "sizes", "for", "rounds"} {
		if v := r.Parameters[name]; v != "" {
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+v)
		}
	}
	return strings.Join(parts, ", ")
}

// usage tells what the sides used, as a mean of the rounds of each subject.
func (r *Report) usage() []string {
	var subjects []string
	sums := make(map[string]Usage)
	rounds := make(map[string]float64)
	for _, round := range r.Rounds {
		if rounds[round.Subject] == 0 {
			subjects = append(subjects, round.Subject)
		}
		u := sums[round.Subject]
		u.ServerCPU += round.Usage.ServerCPU
		u.SideCPU += round.Usage.SideCPU
		u.GeneratorCPU += round.Usage.GeneratorCPU
		u.ServerRSS = max(u.ServerRSS, round.Usage.ServerRSS)
		sums[round.Subject] = u
		rounds[round.Subject]++
	}
	var lines []string
	for _, s := range subjects {
		u, n := sums[s], rounds[s]
		line := fmt.Sprintf("%s: generator %.2f cores", s, u.GeneratorCPU/n)
		if u.ServerRSS > 0 {
			line += fmt.Sprintf(", server %.2f, with databases and broker %.2f, server memory %.0f MiB", u.ServerCPU/n, u.SideCPU/n, float64(u.ServerRSS)/(1<<20))
		}
		lines = append(lines, line)
	}
	return lines
}

// WriteGoals writes the table of goals.
func WriteGoals(w io.Writer, goals []Goal) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "goal\twant\tmeasured\tratio\toutcome")
	for _, g := range goals {
		outcome := g.Outcome
		if g.Why != "" {
			outcome += ": " + g.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", g.Text, g.Want, g.Measured, g.Ratio, outcome)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, trimmed(b.String()))
	return err
}

// Number writes a figure with three significant digits or more, and a comma before each three.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func grouped(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}
