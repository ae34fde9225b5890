package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
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

const (
	width  vg.Length = 720 // 960 pixels
	title  vg.Length = 44
	panel  vg.Length = 210
	margin vg.Length = 14
)

// Colours of the subjects, told apart by brightness too.
var colours = []color.Color{
	color.NRGBA{31, 100, 180, 255}, color.NRGBA{225, 120, 20, 255}, color.NRGBA{0, 125, 125, 255}, color.NRGBA{115, 75, 160, 255},
	color.NRGBA{150, 30, 60, 255}, color.NRGBA{110, 110, 110, 255},
}

// WritePicture draws the run: the headline figures in every round, or against the sizes, with least and most of the
// rounds; what was looked at over time; and the percentiles of each latency, which a mean would hide. format is [SVG] or
// [PNG].
func (r *Report) WritePicture(w io.Writer, format string) error {
	panels := r.panels()
	height := title + vg.Length(len(panels))*panel + margin
	var write io.WriterTo
	var canvas draw.Canvas
	switch format {
	case SVG:
		c := vgsvg.New(width, height)
		write, canvas = c, draw.New(c)
	case PNG:
		c := vgimg.PngCanvas{Canvas: vgimg.New(width, height)}
		write, canvas = c, draw.New(c)
	default:
		return fmt.Errorf("draw the run: unknown format %q", format)
	}
	r.draw(canvas, panels)
	var b bytes.Buffer
	if _, err := write.WriteTo(&b); err != nil {
		return fmt.Errorf("draw the run as %s: %w", format, err)
	}
	// Viewers without this font get another one without serifs; Arial has the same widths.
	out := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,DejaVu Sans,sans-serif;"))
	if format != SVG {
		out = b.Bytes()
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("write the picture of the run: %w", err)
	}
	return nil
}

func (r *Report) panels() (panels []*plot.Plot) {
	for _, name := range r.Headline {
		unit, ok := r.unit(name)
		switch {
		case !ok:
		case r.Axis != "":
			panels = append(panels, r.sizesPanel(name, unit))
		default:
			panels = append(panels, r.roundsPanel(name, unit))
		}
	}
	for _, of := range r.series() {
		panels = append(panels, r.seriesPanel(of))
	}
	for _, name := range r.curves() {
		panels = append(panels, r.curvePanel(name))
	}
	return panels
}

func (r *Report) draw(c draw.Canvas, panels []*plot.Plot) {
	c.FillPolygon(color.White, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
	y := c.Max.Y - 20
	head := fmt.Sprintf("%s · %s · %s", r.Scenario, r.Server, r.Machine)
	if !r.Valid {
		head = "NOT VALID · " + head
	}
	c.FillText(style(11, true), vg.Point{X: c.Min.X + margin, Y: y}, head)
	c.FillText(style(8.5, false), vg.Point{X: c.Min.X + margin, Y: y - 14}, r.sizes())
	top := c.Max.Y - title
	for _, p := range panels {
		p.Draw(draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: c.Min.X + margin, Y: top - panel + 8}, Max: vg.Point{X: c.Max.X - margin, Y: top},
		}})
		top -= panel
	}
}

func style(size vg.Length, heavy bool) draw.TextStyle {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if heavy {
		f.Weight = xfont.WeightBold
	}
	return draw.TextStyle{Color: color.Black, Font: f, Handler: plot.DefaultTextHandler}
}

func newPlot(heading, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = heading, x, y
	p.Title.TextStyle.Font = style(9.5, true).Font
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = style(8.5, false).Font, style(8.5, false).Font
	}
	p.Legend.TextStyle.Font = style(8.5, false).Font
	p.Legend.Top = true
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, color.NRGBA{228, 228, 228, 255}
	p.Add(grid)
	return p
}

// roundsPanel shows a figure over the rounds.
func (r *Report) roundsPanel(name, unit string) *plot.Plot {
	p := newPlot(name, "round", unit)
	p.Y.Min = 0
	p.Y.Tick.Marker = numbers{plot.DefaultTicks{}}
	p.X.Tick.Marker = plot.TickerFunc(func(_, high float64) (ticks []plot.Tick) {
		for n := 1.0; n <= high; n++ {
			ticks = append(ticks, plot.Tick{Value: n, Label: strconv.Itoa(int(n))})
		}
		return ticks
	})
	for i, subject := range r.subjects() {
		var points plotter.XYs
		for n, v := range r.Figures(subject, name) {
			points = append(points, plotter.XY{X: float64(n + 1), Y: v})
			p.Y.Max = max(p.Y.Max, v*1.25)
		}
		addLine(p, subject, points, i)
		p.X.Min, p.X.Max = 0.8, max(p.X.Max, float64(len(points))+0.2)
	}
	return p
}

// sizesPanel shows the medians of a figure against the sizes, with least and most. Sizes grow by factors.
func (r *Report) sizesPanel(name, unit string) *plot.Plot {
	p := newPlot(name, r.Axis, unit)
	p.Y.Min, p.Y.Tick.Marker = 0, numbers{plot.DefaultTicks{}}
	p.X.Scale = plot.LogScale{}
	sizes := sizePoints{}
	var ticks plot.ConstantTicks
	for _, at := range r.sizesOf() {
		s, ok := r.Find(at.subject, name)
		if !ok {
			continue
		}
		sizes.XYs = append(sizes.XYs, plotter.XY{X: at.size, Y: s.Over.Median})
		sizes.YErrors = append(sizes.YErrors, struct{ Low, High float64 }{s.Over.Median - s.Over.Min, s.Over.Max - s.Over.Median})
		ticks = append(ticks, plot.Tick{Value: at.size, Label: Number(at.size)})
		p.Y.Max = max(p.Y.Max, s.Over.Max*1.25)
	}
	if len(ticks) == 0 {
		ticks = plot.ConstantTicks{{Value: 1, Label: "1"}}
	}
	p.X.Tick.Marker = ticks
	p.X.Min, p.X.Max = ticks[0].Value/1.2, ticks[len(ticks)-1].Value*1.2
	addLine(p, "", sizes.XYs, 0)
	if bars, err := plotter.NewYErrorBars(sizes); err == nil { // the error is about no points
		bars.Color = colours[0]
		p.Add(bars)
	}
	return p
}

// sizePoints are points with the distances of least and most.
type sizePoints struct {
	plotter.XYs
	plotter.YErrors
}

// seriesPanel shows what was looked at over time, a line for each round.
func (r *Report) seriesPanel(of Series) *plot.Plot {
	p := newPlot(of.Name, "seconds", of.Unit)
	p.Y.Min, p.Y.Tick.Marker = 0, numbers{plot.DefaultTicks{}}
	number := 0
	for _, round := range r.Rounds {
		for _, s := range round.Series {
			if s.Name != of.Name {
				continue
			}
			var points plotter.XYs
			for _, at := range s.Points {
				points = append(points, plotter.XY{X: at.Seconds, Y: at.Value})
				p.X.Max, p.Y.Max = max(p.X.Max, at.Seconds), max(p.Y.Max, at.Value*1.25)
			}
			addLine(p, fmt.Sprintf("%s, round %d", round.Subject, round.Number), points, number)
			number++
		}
	}
	return p
}

// curves are the names of the latencies.
func (r *Report) curves() (names []string) {
	for _, round := range r.Rounds {
		for name := range round.Curve {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// curvePanel shows the percentiles of a latency: the median of the rounds for each. Each step to the right leaves a tenth
// of the messages.
func (r *Report) curvePanel(name string) *plot.Plot {
	p := newPlot(name+", latency by percentile", "percentile", "ms")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, numbers{plot.LogTicks{Prec: -1}}
	p.X.Tick.Marker = plot.ConstantTicks{{Value: place(50), Label: "50"}, {Value: place(90), Label: "90"}, {Value: place(99), Label: "99"}, {Value: place(99.9), Label: "99.9"}, {Value: place(99.99), Label: "99.99"}}
	low, high := math.Inf(1), math.Inf(-1)
	for i, subject := range r.subjects() {
		values := make(map[float64][]float64)
		for _, round := range r.Rounds {
			if round.Subject == subject {
				for _, at := range round.Curve[name] {
					values[at.Percent] = append(values[at.Percent], at.MS)
				}
			}
		}
		var points plotter.XYs
		for percent, all := range values {
			slices.Sort(all)
			if y := all[len(all)/2]; percent < 100 && y > 0 {
				points = append(points, plotter.XY{X: place(percent), Y: y})
				low, high = min(low, y), max(high, y)
			}
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return int(math.Copysign(1, a.X-b.X)) })
		addLine(p, subject, points, i)
	}
	if low > high {
		low, high = 0.1, 1
	}
	p.X.Min, p.X.Max = 0, place(99.99)+0.1
	p.Y.Min, p.Y.Max = low/2, high*4
	return p
}

// place is where a percentile stands: the number of nines.
func place(percent float64) float64 { return -math.Log10(1 - percent/100) }

func addLine(p *plot.Plot, name string, points plotter.XYs, number int) {
	if len(points) == 0 {
		return
	}
	line := &plotter.Line{XYs: points, LineStyle: draw.LineStyle{Color: colours[number%len(colours)], Width: 1.5}}
	marks := &plotter.Scatter{XYs: points, GlyphStyle: draw.GlyphStyle{Color: colours[number%len(colours)], Radius: 2, Shape: draw.CircleGlyph{}}}
	p.Add(line)
	if len(points) <= marked {
		p.Add(marks)
	}
	if name != "" {
		p.Legend.Add(name, line)
	}
}

// marked is how many points of a line still have a mark each.
const marked = 40

// numbers writes the labels of ticks as people read them.
type numbers struct{ plot.Ticker }

func (n numbers) Ticks(low, high float64) []plot.Tick {
	ticks := n.Ticker.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = Number(ticks[i].Value)
		}
	}
	return ticks
}
