// Package report keeps what a run of the torture test leaves behind: a JSON file for programs, and a picture for people.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

// Outcomes of a run.
const (
	Passed  = "passed"  // every promise was kept
	Failed  = "failed"  // the verdict has violations
	Aborted = "aborted" // the run could not be judged, see Report.Error
)

// Report is one run. Times of samples and faults are milliseconds since Started.
type Report struct {
	Outcome    string            `json:"outcome"`
	Error      string            `json:"error,omitempty"` // why the run was aborted, or its journals could not be kept
	Seed       uint64            `json:"seed"`
	Mode       string            `json:"mode"` // split or embedded
	Version    string            `json:"version"`
	Started    time.Time         `json:"started"`
	DurationMS int64             `json:"duration_ms"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Command    string            `json:"command"` // runs it again
	Line       string            `json:"line"`    // the verdict in one line; WriteJSON fills it in
	Verdict    check.Verdict     `json:"verdict"`
	Faults     []Fault           `json:"faults"`
	Samples    []Sample          `json:"samples"` // in the order of time, about one a second
}

// Sample is the state of a run over the time since the sample before it.
type Sample struct {
	AtMS      int64   `json:"at_ms"`
	Accepted  float64 `json:"accepted_per_s"`
	Stored    float64 `json:"stored_per_s"`
	Delivered float64 `json:"delivered_per_s"`
	Unstored  int64   `json:"unstored"`      // accepted and not yet announced as stored, in events
	P99MS     float64 `json:"stored_p99_ms"` // from accepted to stored, of what was stored in this time; 0: nothing was
	Writers   int     `json:"writers"`       // connected
	Readers   int     `json:"readers"`       // connected
}

// Fault is one fault of the plan, as it was done.
type Fault struct {
	AtMS    int64  `json:"at_ms"`
	UntilMS int64  `json:"until_ms,omitempty"` // 0: it has no duration, like a kill
	Kind    string `json:"kind"`
	Target  string `json:"target,omitempty"`
	Note    string `json:"note,omitempty"`
}

// WriteJSON writes the report as indented JSON.
func (r Report) WriteJSON(w io.Writer) error {
	r.Line = r.Verdict.String()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
