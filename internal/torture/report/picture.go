package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Formats of a picture.
const (
	SVG = "svg"
	PNG = "png"
)

// Sizes of the picture. 900 points are 1,200 pixels.
const (
	width       vg.Length = 900
	margin      vg.Length = 16
	labelWidth  vg.Length = 96 // left of the data: ticks and kinds of faults
	headingSize vg.Length = 22
	rateHeight  vg.Length = 150
	lagHeight   vg.Length = 80
	laneHeight  vg.Length = 16
	axisHeight  vg.Length = 26
	lineHeight  vg.Length = 16
)

// WritePicture draws the run as a timeline, 1,200 pixels wide: the rates, how far storing lags behind, and below them the
// faults, a lane for each kind. What a fault lasted is shaded in the panels above. format is [SVG] or [PNG].
func (r Report) WritePicture(w io.Writer, format string) error {
	lanes := lanesOf(r.Faults)
	height := r.height(len(lanes))
	switch format {
	case SVG:
		c := vgsvg.New(width, height)
		r.draw(draw.New(c), lanes)
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			return fmt.Errorf("draw the run as SVG: %w", err)
		}
		// Viewers without this font get another one without serifs; Arial has the same widths.
		out := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,DejaVu Sans,sans-serif;"))
		if _, err := w.Write(out); err != nil {
			return fmt.Errorf("write the picture of the run: %w", err)
		}
	case PNG:
		c := vgimg.PngCanvas{Canvas: vgimg.New(width, height)}
		r.draw(draw.New(c), lanes)
		if _, err := c.WriteTo(w); err != nil {
			return fmt.Errorf("write the picture of the run: %w", err)
		}
	default:
		return fmt.Errorf("draw the run: unknown format %q", format)
	}
	return nil
}

func (r Report) height(lanes int) vg.Length {
	h := 2*margin + vg.Length(len(r.titles()))*lineHeight + 6
	h += headingSize + rateHeight + 2*(headingSize+lagHeight)
	if lanes > 0 {
		h += headingSize + vg.Length(lanes)*laneHeight
	}
	h += axisHeight
	if r.Command != "" {
		h += lineHeight
	}
	return h
}

// draw fills the canvas from the top down.
func (r Report) draw(c draw.Canvas, lanes []lane) {
	c.FillPolygon(background, corners(c.Rectangle))
	left := c.Min.X + margin
	y := c.Max.Y - margin

	for _, t := range r.titles() {
		y -= lineHeight
		c.FillText(t.style, vg.Point{X: left, Y: y + 4}, fitting(t.text, t.style, width-2*margin))
	}
	y -= 6

	end := r.end()
	at := func(height vg.Length) draw.Canvas { // the next panel, without its labels
		y -= headingSize + height
		return draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left + labelWidth, Y: y}, Max: vg.Point{X: c.Max.X - margin - 10, Y: y + height},
		}}
	}
	for _, p := range []panel{r.ratePanel(), r.lagPanel(), r.p99Panel()} {
		height := lagHeight
		if p.rate {
			height = rateHeight
		}
		p.draw(at(height), end, r.Faults)
	}
	if len(lanes) > 0 {
		drawLanes(at(vg.Length(len(lanes))*laneHeight), end, lanes)
	}

	axis := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: left + labelWidth, Y: y - axisHeight}, Max: vg.Point{X: c.Max.X - margin - 10, Y: y},
	}}
	drawTimes(axis, end)
	if r.Command != "" {
		text := "again: " + r.Command
		c.FillText(small, vg.Point{X: left, Y: c.Min.Y + margin - 4}, fitting(text, small, width-2*margin))
	}
}

// end is the time that the picture ends with, in milliseconds.
func (r Report) end() float64 {
	end := max(r.DurationMS, 1000)
	if n := len(r.Samples); n > 0 {
		end = max(end, r.Samples[n-1].AtMS)
	}
	for _, f := range r.Faults {
		end = max(end, f.AtMS, f.UntilMS)
	}
	return float64(end)
}

// title is a line at the top of the picture.
type title struct {
	text  string
	style draw.TextStyle
}

func (r Report) titles() []title {
	style := bold
	switch r.Outcome {
	case Passed:
		style.Color = green
	case Failed, Aborted:
		style.Color = red
	}
	head := r.Outcome + ": " + r.Verdict.String()
	if r.Outcome == Aborted {
		head = r.Outcome + ": " + r.Error
	}
	t := []title{{head, style}, {r.about(), normal}}
	if len(r.Verdict.Violations) > 0 {
		complaint := normal
		complaint.Color = red
		v := r.Verdict.Violations[0]
		for _, line := range wrapped("The first, "+v.Kind+": "+v.Text, complaint, (width-2*margin)*0.85) { // fonts of other viewers may be wider
			t = append(t, title{line, complaint})
		}
	}
	return t
}

// about tells which run this was.
func (r Report) about() string {
	parts := []string{fmt.Sprintf("seed %d", r.Seed)}
	if r.Mode != "" {
		parts = append(parts, r.Mode)
	}
	parts = append(parts, clock(float64(r.DurationMS))+" long")
	if r.Version != "" {
		parts = append(parts, "gochat "+r.Version)
	}
	if !r.Started.IsZero() {
		parts = append(parts, r.Started.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return strings.Join(parts, " · ")
}

// wrapped divides a text into lines that fit into the room for them.
func wrapped(text string, style draw.TextStyle, room vg.Length) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && style.Width(longer) > room {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	return append(lines, line)
}

// fitting cuts a text off where it would be wider than the room for it.
func fitting(text string, style draw.TextStyle, room vg.Length) string {
	if style.Width(text) <= room {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && style.Width(string(runes)+"…") > room {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// drawTimes draws the axis of time, which all panels share, with its line at the top of the canvas.
func drawTimes(c draw.Canvas, end float64) {
	line := draw.LineStyle{Color: grey, Width: 0.75}
	c.StrokeLine2(line, c.Min.X, c.Max.Y, c.Max.X, c.Max.Y)
	style := small
	style.XAlign = draw.XCenter
	for _, t := range timeTicks(end) {
		x := c.X(t / end)
		c.StrokeLine2(line, x, c.Max.Y, x, c.Max.Y-4)
		c.FillText(style, vg.Point{X: x, Y: c.Max.Y - 15}, clock(t))
	}
}

// timeTicks are at most a dozen round times, in milliseconds.
func timeTicks(end float64) []float64 {
	step := float64(1000)
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600} {
		if step = s * 1000; end/step <= 12 {
			break
		}
	}
	for end/step > 12 {
		step *= 2
	}
	var ticks []float64
	for t := 0.0; t <= end; t += step {
		ticks = append(ticks, t)
	}
	return ticks
}

// clock writes milliseconds as minutes and seconds, with hours if there are some.
func clock(ms float64) string {
	s := int64(ms / 1000)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
