package report

import (
	"cmp"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// panel is a plot over the time of the run.
type panel struct {
	heading string
	rate    bool // the tall one
	series  []series
}

// series is a line in a panel. It is drawn in steps: a sample is about the time before it.
type series struct {
	name   string
	points plotter.XYs // x in milliseconds; the first is where the first step begins
	line   draw.LineStyle
	fill   color.Color // below the line; nil: none
	holes  bool        // a point of 0 is none: the line ends before it and begins after it
}

// series makes a line of at most [maxSteps] steps, so that a long run can be read too. of says what becomes of the samples
// that share a step.
func (r Report) series(value func(Sample) float64, of func([]float64) float64) series {
	var s series
	each := (len(r.Samples) + maxSteps - 1) / maxSteps
	begin := 0.0
	for samples := range slices.Chunk(r.Samples, max(1, each)) {
		values := make([]float64, len(samples))
		for i, sample := range samples {
			values[i] = value(sample)
		}
		y := of(values)
		if len(s.points) == 0 {
			s.points = append(s.points, plotter.XY{X: begin, Y: y})
		}
		s.points = append(s.points, plotter.XY{X: float64(samples[len(samples)-1].AtMS), Y: y})
	}
	return s
}

// Where a picture would be too full to be read.
const (
	maxSteps  = 240 // of a line
	maxShaded = 150 // faults
)

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func (r Report) ratePanel() panel {
	stored := r.series(func(s Sample) float64 { return s.Stored }, mean)
	stored.name, stored.line = "stored", draw.LineStyle{Color: orange, Width: 1.25}
	accepted := r.series(func(s Sample) float64 { return s.Accepted }, mean)
	accepted.name, accepted.line, accepted.fill = "accepted", draw.LineStyle{Color: blue, Width: 1.25}, blueFill
	return panel{heading: "messages a second", rate: true, series: []series{accepted, stored}}
}

func (r Report) lagPanel() panel {
	s := r.series(func(s Sample) float64 { return float64(s.Unstored) }, slices.Max)
	s.line, s.fill = draw.LineStyle{Color: purple, Width: 1.25}, purpleFill
	return panel{heading: "accepted and not yet stored, messages", series: []series{s}}
}

func (r Report) p99Panel() panel {
	s := r.series(func(s Sample) float64 { return s.P99MS }, slices.Max)
	s.line, s.fill, s.holes = draw.LineStyle{Color: teal, Width: 1.25}, tealFill, true
	return panel{heading: "from accepted to stored, 99th percentile, ms", series: []series{s}}
}

// draw draws the panel into the canvas, which is for data only: heading and ticks go above it and to its left.
func (p panel) draw(c draw.Canvas, end float64, faults []Fault) {
	pl := plot.New()
	pl.BackgroundColor = nil
	pl.HideX() // one axis below serves all panels
	pl.X.Min, pl.X.Max, pl.X.Padding = 0, end, 0
	pl.Y.Min, pl.Y.Max, pl.Y.Padding = 0, p.top(), 0
	pl.Y.LineStyle.Width = 0
	pl.Y.Tick.Length = 0
	pl.Y.Tick.Label.Font = small.Font
	pl.Y.Tick.Label.Color = black
	pl.Y.Tick.Marker = counts{}

	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal = draw.LineStyle{Color: gridGrey, Width: 0.5}
	pl.Add(backdrop{faults}, grid)
	for _, s := range p.series {
		for _, run := range s.runs() {
			pl.Add(&plotter.Line{XYs: run, StepStyle: plotter.PreStep, LineStyle: s.line, FillColor: s.fill})
		}
	}
	pl.Add(peaks{p.series})

	labels := pl.DataCanvas(c).Min.X - c.Min.X
	pl.Draw(draw.Crop(c, -labels, 0, 0, 0))
	c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.75}, c.Min.X, c.Min.Y, c.Max.X, c.Min.Y)
	p.drawHeading(c)
}

// drawHeading writes above the data what it is, and in which colour.
func (p panel) drawHeading(c draw.Canvas) {
	at := vg.Point{X: c.Min.X, Y: c.Max.Y + 6}
	c.FillText(strong, at, p.heading)
	at.X += strong.Width(p.heading) + 18
	for _, s := range p.series {
		if s.name == "" {
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: s.line.Color, Width: 2.5}, at.X, at.Y+3, at.X+16, at.Y+3)
		c.FillText(small, vg.Point{X: at.X + 20, Y: at.Y}, s.name)
		at.X += 20 + small.Width(s.name) + 16
	}
}

// peaks writes the height of what is higher than its panel.
type peaks struct{ series []series }

func (p peaks) Plot(c draw.Canvas, pl *plot.Plot) {
	x, _ := pl.Transforms(&c)
	var found plotter.XYs
	for _, s := range p.series {
		for i, xy := range s.points {
			isPeak := i > 0 && (i == 1 || s.points[i-1].Y < xy.Y) && (i == len(s.points)-1 || s.points[i+1].Y <= xy.Y)
			if xy.Y > pl.Y.Max && isPeak {
				found = append(found, xy)
			}
		}
	}
	slices.SortFunc(found, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	free := c.Min.X // right end of the last text
	for _, xy := range found {
		text := "↑ " + grouped(math.Round(xy.Y))
		at := min(x(xy.X)+3, c.Max.X-small.Width(text))
		if at < free {
			continue
		}
		c.FillText(small, vg.Point{X: at, Y: c.Max.Y - 9}, text)
		free = at + small.Width(text) + 6
	}
}

// backdrop shades what the faults lasted, the darker the more there were at once. A long run has so many that the shades
// would be stripes; there the lanes tell enough.
type backdrop struct{ faults []Fault }

func (b backdrop) Plot(c draw.Canvas, pl *plot.Plot) {
	x, _ := pl.Transforms(&c)
	for _, t := range timeTicks(pl.X.Max) {
		c.StrokeLine2(draw.LineStyle{Color: gridGrey, Width: 0.5}, x(t), c.Min.Y, x(t), c.Max.Y)
	}
	if len(b.faults) > maxShaded {
		return
	}
	for _, s := range spans(b.faults) {
		shade := shade
		shade.A *= uint8(min(s.faults, 5))
		c.FillPolygon(shade, corners(vg.Rectangle{Min: vg.Point{X: x(s.from), Y: c.Min.Y}, Max: vg.Point{X: x(s.to), Y: c.Max.Y}}))
	}
}

// runs are the parts of a line without holes, each with the point where its first step begins.
func (s series) runs() []plotter.XYs {
	if len(s.points) == 0 {
		return nil
	}
	if !s.holes {
		return []plotter.XYs{s.points}
	}
	var runs []plotter.XYs
	var run plotter.XYs
	for i := 1; i < len(s.points); i++ {
		before, p := s.points[i-1], s.points[i]
		switch {
		case p.Y > 0 && run == nil:
			run = plotter.XYs{{X: before.X, Y: p.Y}, p}
		case p.Y > 0:
			run = append(run, p)
		case run != nil:
			runs, run = append(runs, run), nil
		}
	}
	if run != nil {
		runs = append(runs, run)
	}
	return runs
}

// top is the upper end of a panel. When storing catches up after an outage, its rate is for a moment so much higher than
// otherwise that everything else would be a flat line: the tall panel ends at four times what nine of ten points have.
func (p panel) top() float64 {
	var all []float64
	for _, s := range p.series {
		for _, xy := range s.points {
			all = append(all, xy.Y)
		}
	}
	if len(all) == 0 {
		return 1
	}
	slices.Sort(all)
	top := all[len(all)-1]
	if usual := all[len(all)*9/10]; p.rate && usual > 0 {
		top = min(top, 4*usual)
	}
	return max(1, top*1.05)
}

// counts are those of plot's ticks that are whole, with a comma before each three digits.
type counts struct{}

func (counts) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if !t.IsMinor() && t.Value == math.Trunc(t.Value) {
			ticks = append(ticks, plot.Tick{Value: t.Value, Label: grouped(t.Value)})
		}
	}
	return ticks
}

// grouped writes a whole number with a comma before each three digits.
func grouped(v float64) string {
	digits := strconv.FormatFloat(v, 'f', -1, 64)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
