package report

import (
	"cmp"
	"slices"
)

// What both pictures, that of the terminal and that in a file, are drawn from.

// subjects in the order in which they were measured.
func (r *Report) subjects() (names []string) {
	for _, round := range r.Rounds {
		if !slices.Contains(names, round.Subject) {
			names = append(names, round.Subject)
		}
	}
	return names
}

// unit is that of a figure; false where nobody has it.
func (r *Report) unit(figure string) (string, bool) {
	for _, s := range r.Summary {
		if s.Figure == figure {
			return s.Unit, true
		}
	}
	return "", false
}

// sized is a subject at its place on the axis.
type sized struct {
	subject string
	size    float64
}

// sizesOf are the subjects by their sizes.
func (r *Report) sizesOf() (all []sized) {
	for _, round := range r.Rounds {
		if at := (sized{round.Subject, round.Size}); round.Size > 0 && !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	return all
}

// series are the names and units of what was looked at over time, without points.
func (r *Report) series() (all []Series) {
	for _, round := range r.Rounds {
		for _, s := range round.Series {
			if !slices.ContainsFunc(all, func(t Series) bool { return t.Name == s.Name }) {
				all = append(all, Series{Name: s.Name, Unit: s.Unit})
			}
		}
	}
	return all
}
