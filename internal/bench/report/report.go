// Package report keeps what a run of the load generator leaves behind: a table for people, JSON for programs, a picture.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// Report is one scenario, measured over rounds.
type Report struct {
	Scenario   string            `json:"scenario"`
	Server     string            `json:"server"` // URL, or the kind of installation
	Version    string            `json:"version"`
	Machine    string            `json:"machine"`
	Started    time.Time         `json:"started"`
	DurationMS int64             `json:"duration_ms"`
	Command    string            `json:"command"`
	Parameters map[string]string `json:"parameters"`
	Headline   []string          `json:"headline"`       // the figures that are drawn
	Axis       string            `json:"axis,omitempty"` // what the sizes of the rounds count, where the subjects differ in one
	Rounds     []Round           `json:"rounds"`         // in the order of time
	Summary    []Summary         `json:"summary"`        // a line for each subject and figure
	Valid      bool              `json:"valid"`          // false: the figures say nothing about the server
	Invalid    []string          `json:"invalid"`        // why not
	Error      string            `json:"error,omitempty"`
}

// Round is one measurement of one subject.
type Round struct {
	Number  int    `json:"round"`
	Subject string `json:"subject"` // go-chat, or what it is compared with
	// Size is the subject's place on the report's axis.
	Size float64 `json:"size,omitempty"`
	Measurement
}

// Measurement is what one measurement gave.
type Measurement struct {
	Seconds float64            `json:"seconds"`
	Figures []Figure           `json:"figures"`
	Counts  map[string]int64   `json:"counts,omitempty"` // of the whole round, also outside the measured time
	Curve   map[string][]Point `json:"percentiles,omitempty"`
	Series  []Series           `json:"series,omitempty"`
	Usage   Usage              `json:"usage"`
	Invalid []string           `json:"invalid,omitempty"`
	Notes   []string           `json:"notes,omitempty"`
}

// Figure is one number with its unit.
type Figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Point is a percentile of a latency.
type Point struct {
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// Series is a figure that was looked at again and again while it was measured.
type Series struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit"`
	Points []Sample `json:"points"` // in the order of time
}

// Sample is a value at a time since the measurement began.
type Sample struct {
	Seconds float64 `json:"s"`
	Value   float64 `json:"v"`
}

// Usage is what the sides used while it was measured: CPU in cores, memory in bytes. 0: not known.
type Usage struct {
	ServerCPU    float64 `json:"server_cpu"`    // the processes that serve the clients
	SideCPU      float64 `json:"side_cpu"`      // those, and the databases and brokers that they stand on
	GeneratorCPU float64 `json:"generator_cpu"` // this process
	OthersCPU    float64 `json:"others_cpu"`    // all else on this machine
	ServerRSS    int64   `json:"server_rss_bytes"`
}

// Summary is a figure of a subject over the rounds. Ratio is the first subject's figure divided by this one's, round by
// round; it is nil for the first itself, which is go-chat, or the smallest size.
type Summary struct {
	Subject string        `json:"subject"`
	Figure  string        `json:"figure"`
	Unit    string        `json:"unit"`
	Over    stats.Spread  `json:"over_rounds"`
	Ratio   *stats.Spread `json:"ratio,omitempty"`
	Rounds  int           `json:"rounds"`
}

// Figures returns a figure of a subject in the order of the rounds.
func (r *Report) Figures(subject, name string) []float64 {
	var all []float64
	for _, round := range r.Rounds {
		if round.Subject != subject {
			continue
		}
		for _, f := range round.Figures {
			if f.Name == name {
				all = append(all, f.Value)
			}
		}
	}
	return all
}

// Summarise fills in Summary, Invalid and Valid from the rounds. The first subject measured is the one compared.
func (r *Report) Summarise() {
	r.Summary, r.Invalid = nil, []string{}
	type key struct{ subject, name string }
	seen := make(map[key]bool)
	var told = make(map[string]bool)
	first := r.first()
	for _, round := range r.Rounds {
		for _, f := range round.Figures {
			if k := (key{round.Subject, f.Name}); !seen[k] {
				seen[k] = true
				figures := r.Figures(round.Subject, f.Name)
				s := Summary{Subject: round.Subject, Figure: f.Name, Unit: f.Unit, Over: stats.SpreadOf(figures), Rounds: len(figures)}
				if round.Subject != first {
					if ratios := stats.Ratios(r.Figures(first, f.Name), figures); len(ratios) > 0 {
						spread := stats.SpreadOf(ratios)
						s.Ratio = &spread
					}
				}
				r.Summary = append(r.Summary, s)
			}
		}
		for _, text := range round.Invalid {
			if text = round.Subject + ": " + text; !told[text] {
				told[text] = true
				r.Invalid = append(r.Invalid, text)
			}
		}
	}
	r.Valid = r.Error == "" && len(r.Invalid) == 0 && len(r.Rounds) > 0
}

// NotValid tells in short why a figure of one of the subjects is not valid, and in how many rounds; empty: it is. The rounds of
// others do not matter to it.
func (r *Report) NotValid(subjects ...string) string {
	if r.Error != "" {
		return r.Error
	}
	for _, subject := range subjects {
		var why string
		rounds, bad := 0, 0
		for _, round := range r.Rounds {
			if round.Subject != subject {
				continue
			}
			rounds++
			if len(round.Invalid) > 0 {
				bad++
				why = cmp.Or(why, round.Invalid[0])
			}
		}
		if bad > 0 {
			why, _, _ = strings.Cut(why, ": ")
			return fmt.Sprintf("%s, %d of %d rounds: %s", subject, bad, rounds, why)
		}
	}
	return ""
}

// first is the subject that the others are compared with.
func (r *Report) first() string {
	if len(r.Rounds) == 0 {
		return ""
	}
	return r.Rounds[0].Subject
}

// Find returns the summary of a figure of a subject.
func (r *Report) Find(subject, figure string) (Summary, bool) {
	for _, s := range r.Summary {
		if s.Subject == subject && s.Figure == figure {
			return s, true
		}
	}
	return Summary{}, false
}

// WriteJSON writes reports as one indented JSON document.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
