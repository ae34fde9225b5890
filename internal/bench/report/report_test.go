package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
)

// sample is a run of three rounds of two subjects.
func sample() Report {
	r := Report{Scenario: "fanout", Server: "embedded", Machine: "2 cores", Parameters: map[string]string{"rooms": "1", "for": "5s"}, Headline: []string{"messages", "nobody has it"}}
	for n, values := range [][2]float64{{1000, 500}, {1200, 400}, {900, 300}} {
		for i, subject := range []string{"go-chat", "baseline"} {
			m := Measurement{
				Seconds: 5, Figures: []Figure{{"messages", "/s", values[i]}, {subject + " only", "ms", 7}},
				Usage: Usage{ServerCPU: 1, SideCPU: 1.25, GeneratorCPU: 0.5, ServerRSS: 3 << 20},
				Curve: map[string][]Point{"delivered": {{50, 1.5}, {99, values[i] / 100}, {100, 20}}},
			}
			r.Rounds = append(r.Rounds, Round{Number: n + 1, Subject: subject, Measurement: m})
		}
	}
	r.Summarise()
	return r
}

func TestSummary(t *testing.T) {
	t.Parallel()
	r := sample()
	want := []Summary{
		{Subject: "go-chat", Figure: "messages", Unit: "/s", Over: stats.Spread{Median: 1000, Min: 900, Max: 1200}, Rounds: 3},
		{Subject: "go-chat", Figure: "go-chat only", Unit: "ms", Over: stats.Spread{Median: 7, Min: 7, Max: 7}, Rounds: 3},
		{
			Subject: "baseline", Figure: "messages", Unit: "/s", Over: stats.Spread{Median: 400, Min: 300, Max: 500},
			Ratio: &stats.Spread{Median: 3, Min: 2, Max: 3}, Rounds: 3,
		},
		{Subject: "baseline", Figure: "baseline only", Unit: "ms", Over: stats.Spread{Median: 7, Min: 7, Max: 7}, Rounds: 3},
	}
	if diff := cmp.Diff(want, r.Summary); diff != "" || !r.Valid {
		t.Errorf("valid %v: %s", r.Valid, diff)
	}
	r.Rounds[3].Invalid = []string{"the generator was the limit"}
	r.Rounds[5].Invalid = []string{"the generator was the limit"}
	r.Summarise()
	if diff := cmp.Diff([]string{"baseline: the generator was the limit"}, r.Invalid); diff != "" || r.Valid {
		t.Errorf("valid %v: %s", r.Valid, diff)
	}
	var none Report
	if none.Summarise(); none.Valid {
		t.Error("a run without rounds is valid")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Invalid = []string{"go-chat: something"}
	r.Rounds[0].Notes = []string{"slow"}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `
fanout · embedded · 2 cores
rooms 1, for 5s

          figure         median    least  most   go-chat ÷ this
go-chat   messages       1,000 /s  900    1,200
          go-chat only   7 ms      7      7
baseline  messages       400 /s    300    500    3.00 (2.00 to 3.00)
          baseline only  7 ms      7      7

go-chat: generator 0.50 cores, server 1.00, with databases and broker 1.25, server memory 3 MiB
baseline: generator 0.50 cores, server 1.00, with databases and broker 1.25, server memory 3 MiB
note: go-chat: slow
✗ not valid: go-chat: something
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTableOfGoals(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := WriteGoals(&b, []Goal{
		{Text: "fan-out", Want: "≥ 2.50 ×", Measured: "2,000 /s", Ratio: "2.60 (2.50 to 2.70)", Outcome: Met},
		{Text: "drain", Want: "≥ 20,000", Outcome: NotRun, Why: "500,000 rows: with --long"},
	})
	want := `goal     want      measured  ratio                outcome
fan-out  ≥ 2.50 ×  2,000 /s  2.60 (2.50 to 2.70)  met
drain    ≥ 20,000                                 not run: 500,000 rows: with --long
`
	if diff := cmp.Diff(want, b.String()); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	r := sample()
	var picture bytes.Buffer
	if err := r.WritePicture(&picture, PNG); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&picture)
	if err != nil || img.Bounds().Dx() != 960 {
		t.Errorf("got %v, %v", img, err)
	}
	picture.Reset()
	if err := r.WritePicture(&picture, SVG); err != nil {
		t.Fatal(err)
	}
	text := picture.String()
	for _, want := range []string{"baseline", "messages", "delivered, latency by percentile", "fanout"} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	if err := r.WritePicture(&picture, "gif"); err == nil {
		t.Error("gif: got no error")
	}
	var empty Report
	if err := empty.WritePicture(&picture, SVG); err != nil {
		t.Errorf("a run without rounds: %v", err)
	}
}

// sizes is a run of two rounds at three sizes, with memory over time.
func sizes() Report {
	r := Report{Scenario: "sweep", Headline: []string{"cost"}, Axis: "rows"}
	for n := range 2 {
		for i, subject := range []string{"10 rows", "100 rows", "1,000 rows"} {
			m := Measurement{
				Figures: []Figure{{"cost", "µs", float64(10 + 10*i + 5*n*i)}},
				Series:  []Series{{Name: "memory", Unit: "MiB", Points: []Sample{{0, 0}, {1, 20}, {2, 40}, {3, 40}}}},
			}
			r.Rounds = append(r.Rounds, Round{Number: n + 1, Subject: subject, Size: []float64{10, 100, 1000}[i], Measurement: m})
		}
	}
	r.Summarise()
	return r
}

func TestPlotInText(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		r    Report
		want string
	}{
		"spread": {sample(), `
messages, /s
  go-chat   1,000  ████████████████▒▒┃▒▒
  baseline    400  █████▒▒┃▒

█ up to the least of the rounds, ┃ their median, ▒ up to the most
`},
		"sizes, over time": {sizes(), `
cost, µs
  10 rows     10.0  █████
  100 rows    22.5  ██████████▒┃▒
  1,000 rows  35.0  ███████████████▒▒▒┃▒

memory, MiB over time
  round 1  ▁▅██  0 to 40.0, 3 s
  round 1, 100 rows  ▁▅██  0 to 40.0, 3 s
  round 1, 1,000 rows  ▁▅██  0 to 40.0, 3 s
  round 2  ▁▅██  0 to 40.0, 3 s
  round 2, 100 rows  ▁▅██  0 to 40.0, 3 s
  round 2, 1,000 rows  ▁▅██  0 to 40.0, 3 s

█ up to the least of the rounds, ┃ their median, ▒ up to the most
`},
		"nothing": {Report{Headline: []string{"messages"}}, ""},
	} {
		var b bytes.Buffer
		if err := tt.r.WritePlot(&b, 40, false); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		b.Reset()
		if err := tt.r.WritePlot(&b, 40, true); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Contains(b.String(), "\x1b["), tt.want != ""; got != want {
			t.Errorf("%s: colours %v, want %v", name, got, want)
		}
	}
}

func TestPictureOfSizes(t *testing.T) {
	t.Parallel()
	r := sizes()
	var picture bytes.Buffer
	if err := r.WritePicture(&picture, SVG); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1,000", "rows", "memory", "10 rows, round 1"} {
		if !strings.Contains(picture.String(), ">"+want+"<") {
			t.Errorf("the picture does not say %q", want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	r := sample()
	var b bytes.Buffer
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	got.Invalid = r.Invalid
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.346: "0.35", 3: "3", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := Number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}
