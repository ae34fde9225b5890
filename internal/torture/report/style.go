package report

import (
	"image/color"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours. Lines and lanes are told apart by people who do not see all of them too: they differ in brightness, and lanes
// have names.
var (
	background = color.NRGBA{255, 255, 255, 255}
	black      = color.NRGBA{34, 34, 34, 255}
	grey       = color.NRGBA{120, 120, 120, 255}
	gridGrey   = color.NRGBA{228, 228, 228, 255}
	laneGrey   = color.NRGBA{246, 246, 246, 255}
	shade      = color.NRGBA{205, 92, 60, 18} // behind the lines while a fault lasts
	green      = color.NRGBA{28, 125, 60, 255}
	red        = color.NRGBA{190, 35, 35, 255}
	blue       = color.NRGBA{31, 100, 180, 255}
	blueFill   = color.NRGBA{31, 100, 180, 36}
	orange     = color.NRGBA{225, 120, 20, 255}
	purple     = color.NRGBA{115, 75, 160, 255}
	purpleFill = color.NRGBA{115, 75, 160, 40}
	teal       = color.NRGBA{0, 125, 125, 255}
	tealFill   = color.NRGBA{0, 125, 125, 40}

	laneColours = []color.NRGBA{
		{197, 80, 50, 255}, {60, 120, 180, 255}, {140, 110, 30, 255}, {110, 85, 165, 255},
		{45, 135, 90, 255}, {185, 65, 120, 255}, {90, 100, 110, 255},
	}
)

// Text styles.
var (
	small  = textStyle(8.5, false)
	normal = textStyle(10.5, false)
	strong = textStyle(9.5, true) // headings of panels
	bold   = textStyle(12, true)
)

func textStyle(size vg.Length, heavy bool) draw.TextStyle {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if heavy {
		f.Weight = xfont.WeightBold
	}
	return draw.TextStyle{Color: black, Font: f, Handler: plot.DefaultTextHandler}
}
