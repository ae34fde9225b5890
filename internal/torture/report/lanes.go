package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// lane is the row of one kind of fault, from the first of its kind on.
type lane struct {
	kind   string
	faults []Fault // in the order of time
}

func lanesOf(faults []Fault) []lane {
	faults = slices.Clone(faults)
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(a.AtMS, b.AtMS) })
	var lanes []lane
	for _, f := range faults {
		i := slices.IndexFunc(lanes, func(l lane) bool { return l.kind == f.Kind })
		if i < 0 {
			lanes, i = append(lanes, lane{kind: f.Kind}), len(lanes)
		}
		lanes[i].faults = append(lanes[i].faults, f)
	}
	return lanes
}

// span is a time in which a number of faults lasted, from and to in milliseconds.
type span struct {
	from, to float64
	faults   int
}

// spans divides the time in which faults lasted by how many there were at once.
func spans(faults []Fault) []span {
	change := make(map[int64]int) // of the number, by time
	for _, f := range faults {
		if f.UntilMS > f.AtMS {
			change[f.AtMS]++
			change[f.UntilMS]--
		}
	}
	var all []span
	now := span{}
	for _, at := range slices.Sorted(maps.Keys(change)) {
		if change[at] == 0 {
			continue
		}
		if now.to = float64(at); now.faults > 0 {
			all = append(all, now)
		}
		now = span{from: float64(at), faults: now.faults + change[at]}
	}
	return all
}

// drawLanes draws each fault as a bar in the lane of its kind, with its target, and its note, where there is room.
func drawLanes(c draw.Canvas, end float64, lanes []lane) {
	x := func(ms float64) vg.Length { return c.X(ms / end) }
	c.FillText(strong, vg.Point{X: c.Min.X, Y: c.Max.Y + 6}, "faults")
	for _, t := range timeTicks(end) {
		c.StrokeLine2(draw.LineStyle{Color: gridGrey, Width: 0.5}, x(t), c.Min.Y, x(t), c.Max.Y)
	}
	name := small
	name.XAlign, name.YAlign = draw.XRight, draw.YCenter
	for i, l := range lanes {
		top := c.Max.Y - vg.Length(i)*laneHeight
		if i%2 == 0 {
			c.FillPolygon(laneGrey, corners(vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: top - laneHeight}, Max: vg.Point{X: c.Max.X, Y: top}}))
		}
		c.FillText(name, vg.Point{X: c.Min.X - 6, Y: top - laneHeight/2 + 1}, fitting(l.kind, name, labelWidth-8))
		l.draw(c, x, top, i)
	}
}

func (l lane) draw(c draw.Canvas, x func(float64) vg.Length, top vg.Length, number int) {
	colour := laneColours[number%len(laneColours)]
	target := small
	target.YAlign = draw.YCenter
	middle := top - laneHeight/2 + 1 // of the letters without what hangs below the line
	free := c.Min.X                  // up to here the lane is taken
	for i, f := range l.faults {
		from, to := x(float64(f.AtMS)), x(float64(max(f.AtMS, f.UntilMS)))
		to = max(to, from+3) // a moment shows too
		c.FillPolygon(colour, corners(vg.Rectangle{Min: vg.Point{X: from, Y: top - laneHeight + 2}, Max: vg.Point{X: to, Y: top - 2}}))
		if from < free { // begins within an earlier one
			c.StrokeLine2(draw.LineStyle{Color: background, Width: 0.75}, from, top-laneHeight+2, from, top-2)
		}
		free = max(free, to)
		next := c.Max.X + margin
		if i+1 < len(l.faults) {
			next = x(float64(l.faults[i+1].AtMS))
		}
		for _, text := range [...]string{f.Target + " " + f.Note, f.Target} { // the note where there is room for it too
			text = strings.TrimSpace(text)
			w := target.Width(text)
			if text != "" && min(to, next)-from > w+6 {
				inside := target
				inside.Color = background
				c.FillText(inside, vg.Point{X: from + 4, Y: middle}, text)
				break
			}
			if text != "" && free == to && next-to > w+6 {
				c.FillText(target, vg.Point{X: to + 3, Y: middle}, text)
				break
			}
		}
	}
}
