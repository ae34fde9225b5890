package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"

	"github.com/rafaeldepontes/go-chat/internal/torture/check"
)

// stormy is a run with faults of 20 kinds: outages in which nothing is accepted or stored, and the rush after them.
func stormy(seconds int) Report {
	rnd := rand.New(rand.NewPCG(7, 7))
	r := Report{
		Outcome: Passed, Seed: 8213, Mode: "split", Version: "0.3.0", DurationMS: int64(seconds) * 1000,
		Started:    time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
		Command:    "gochat torture --split --for 60s --seed 8213",
		Parameters: map[string]string{"writers": "20", "rooms": "4"},
		Verdict:    check.Verdict{Sent: 48120, Accepted: 48003, Unknown: 117, Stored: 48071, Linearizable: "ok: 4000 of 48071 ops in 4 rooms"},
	}
	kinds := []struct {
		kind    string
		targets []string
		lasts   int
	}{
		{"kill -9", []string{"chatroom-1", "chatroom-2", "persister-1", "persister-2"}, 0},
		{"broker stop", []string{"rabbitmq"}, 3000}, {"broker kill", []string{"rabbitmq"}, 4000}, {"broker wipe", []string{"rabbitmq"}, 5000},
		{"postgres immediate", []string{"postgres"}, 1500}, {"postgres SIGSTOP", []string{"postgres"}, 2500},
		{"cut mid-frame", []string{"client-7", "client-12"}, 0}, {"cut in COMMIT", []string{"chatroom-1", "chatroom-2"}, 0},
		{"duplicate", []string{"deliveries"}, 6000}, {"reorder", []string{"deliveries"}, 6000}, {"delay", []string{"deliveries"}, 6000},
		{"slow reader", []string{"reader-3"}, 9000}, {"relay pause", []string{"chatroom-1"}, 5000}, {"disk full", []string{"rabbitmq"}, 4000},
		{"crash: commit", []string{"chatroom-1"}, 0}, {"crash: confirm", []string{"chatroom-2"}, 0}, {"crash: insert", []string{"persister-1"}, 0},
		{"partition", []string{"chatroom-1/rabbitmq"}, 3000}, {"clock jump", []string{"chatroom-2"}, 0}, {"poison", []string{"persister"}, 0},
	}
	for i := range seconds * 45 / 60 {
		k := kinds[i%len(kinds)]
		if i >= len(kinds) {
			k = kinds[rnd.IntN(len(kinds))]
		}
		f := Fault{AtMS: int64(2000 + rnd.IntN(seconds*1000-8000)), Kind: k.kind, Target: k.targets[rnd.IntN(len(k.targets))], Note: fmt.Sprint(i)}
		if k.lasts > 0 {
			f.UntilMS = f.AtMS + int64(k.lasts/2+rnd.IntN(k.lasts))
		}
		r.Faults = append(r.Faults, f)
	}
	down := func(at int64, kinds ...string) bool {
		for _, f := range r.Faults {
			for _, k := range kinds {
				if strings.HasPrefix(f.Kind, k) && f.AtMS <= at && at < f.UntilMS {
					return true
				}
			}
		}
		return false
	}
	lag := 0.0
	for i := range seconds {
		s := Sample{AtMS: int64(i+1) * 1000, Accepted: 700 + 150*rnd.Float64(), Writers: 20}
		if down(s.AtMS, "postgres") {
			s.Accepted = 0
		}
		lag += s.Accepted
		if !down(s.AtMS, "postgres", "broker", "disk") {
			s.Stored = min(lag, 9000+1000*rnd.Float64())
			s.P99MS = 20 + 10*rnd.Float64() + max(0, lag-800)*0.9
		}
		lag -= s.Stored
		s.Unstored = int64(lag)
		s.Delivered = 4 * s.Accepted
		r.Samples = append(r.Samples, s)
	}
	return r
}

// reports are runs that the pictures must cope with.
func reports() map[string]Report {
	failed := stormy(60)
	failed.Outcome = Failed
	failed.Verdict.Lost, failed.Verdict.Gaps = 3, 1
	failed.Verdict.Violations = []check.Violation{{Kind: check.KindLost, Text: "writer-7 sent 01932c6e-8f1a-7d2b-9c3d-4e5f60718293 to room-2 at 23.123456789s (2 tries) and read at 23.9s that it was accepted with seq 6213, but it is not in the history, the table persister.messages and the keys chatroom.accepted."}}
	flat := Report{Outcome: Passed, Mode: "embedded", DurationMS: 30_000, Samples: []Sample{{AtMS: 1000}, {AtMS: 2000}}}
	return map[string]Report{
		"a minute":         stormy(60),
		"a long run":       stormy(1200),
		"failed":           failed,
		"nothing happened": flat,
		"no samples":       {Outcome: Aborted, Error: "start RabbitMQ: it is not installed"},
		"one sample":       {Outcome: Passed, Samples: []Sample{{AtMS: 1000, Accepted: 5, Stored: 5, Unstored: 2, P99MS: 3}}},
	}
}

// The pictures are pictures: PNG decodes to the promised width, SVG is well-formed and tells what a person looks for. With
// REPORT_PICTURES naming a folder they are kept there, to be looked at.
func TestPictures(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			var asPNG, asSVG bytes.Buffer
			if err := r.WritePicture(&asPNG, PNG); err != nil {
				t.Fatal(err)
			}
			if err := r.WritePicture(&asSVG, SVG); err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("REPORT_PICTURES"); dir != "" {
				file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
				if err := errors.Join(os.WriteFile(file+".png", asPNG.Bytes(), 0o600), os.WriteFile(file+".svg", asSVG.Bytes(), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			img, err := png.Decode(&asPNG)
			if err != nil {
				t.Fatalf("decode the PNG: %v", err)
			}
			if got := img.Bounds().Dx(); got != 1200 {
				t.Errorf("the PNG is %d pixels wide, want 1200", got)
			}
			texts := textsOf(t, asSVG.Bytes())
			head := r.Outcome + ": " + r.Verdict.String()
			if r.Outcome == Aborted {
				head = r.Outcome + ": " + r.Error
			}
			want := []string{head, fmt.Sprintf("seed %d", r.Seed), r.Mode, "again: " + r.Command, r.Error}
			for _, f := range r.Faults {
				want = append(want, f.Kind)
			}
			if len(r.Verdict.Violations) > 0 {
				want = append(want, r.Verdict.Violations[0].Text[:80])
			}
			for _, w := range want {
				if w != "again: " && !strings.Contains(texts, w) {
					t.Errorf("the SVG does not say %q:\n%s", w, texts)
				}
			}
			if strings.Contains(texts, "NaN") || strings.Contains(asSVG.String(), "NaN") || strings.Contains(asSVG.String(), "Inf") {
				t.Error("the SVG has what is no number")
			}
		})
	}
}

// textsOf reads the texts of an SVG, one a line.
func textsOf(t *testing.T, svg []byte) string {
	t.Helper()
	var texts strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts.String()
		}
		if err != nil {
			t.Fatalf("read the SVG: %v", err)
		}
		if c, ok := token.(xml.CharData); ok && strings.TrimSpace(string(c)) != "" {
			fmt.Fprintln(&texts, string(c))
		}
	}
}

func TestAPictureOfNoKnownFormat(t *testing.T) {
	if err := stormy(60).WritePicture(io.Discard, "gif"); err == nil {
		t.Error("no error")
	}
}

func TestJSON(t *testing.T) {
	r := stormy(60)
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	want := r
	want.Line = r.Verdict.String()
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("what was written and read again (-want +got):\n%s", diff)
	}
}

func TestSpansCountFaults(t *testing.T) {
	got := spans([]Fault{{AtMS: 5, UntilMS: 9}, {AtMS: 1}, {AtMS: 8, UntilMS: 12}, {AtMS: 6, UntilMS: 7}, {AtMS: 12, UntilMS: 13}, {AtMS: 20, UntilMS: 21}})
	want := []span{{5, 6, 1}, {6, 7, 2}, {7, 8, 1}, {8, 9, 2}, {9, 13, 1}, {20, 21, 1}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(span{})); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// What shares a step is averaged where it is a rate, and the highest where it is a lag; where nothing was stored the line
// of the time to store has a hole.
func TestSeries(t *testing.T) {
	r := Report{}
	for i := range 2 * maxSteps {
		r.Samples = append(r.Samples, Sample{AtMS: int64(i+1) * 1000, Accepted: float64(i % 2), P99MS: float64(7 * (i / 2 % 3))})
	}
	accepted := r.ratePanel().series[0].points
	if len(accepted) != maxSteps+1 || accepted[0].X != 0 || accepted[maxSteps].X != 2*maxSteps*1000 {
		t.Errorf("%d points from %v to %v", len(accepted), accepted[0], accepted[len(accepted)-1])
	}
	for _, p := range accepted {
		if p.Y != 0.5 {
			t.Errorf("rate %v at %v ms, want the mean", p.Y, p.X)
		}
	}
	runs := r.p99Panel().series[0].runs()
	if want := (plotter.XYs{{X: 2000, Y: 7}, {X: 4000, Y: 7}, {X: 6000, Y: 14}}); len(runs) != maxSteps/3 || !cmp.Equal(runs[0], want) {
		t.Errorf("%d runs, the first is %v, want %v", len(runs), runs[0], want)
	}
}
