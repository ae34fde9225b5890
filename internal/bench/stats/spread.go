package stats

import "slices"

// Spread is a figure over several rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf summarises the figures; the median of an even number is the mean of the two in the middle. None gives zeros.
func SpreadOf(figures []float64) Spread {
	if len(figures) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	mid := len(sorted) / 2
	s := Spread{Median: sorted[mid], Min: sorted[0], Max: sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.Median = (sorted[mid-1] + sorted[mid]) / 2
	}
	return s
}

// Ratios divides the figures of each round by those of the same round of something else, so that what slowed both down
// cancels out. Rounds that lack one of the two, or have a divisor of 0, are left out.
func Ratios(of, by []float64) []float64 {
	var ratios []float64
	for i := range min(len(of), len(by)) {
		if by[i] != 0 {
			ratios = append(ratios, of[i]/by[i])
		}
	}
	return ratios
}

// Slope is by how much y grows with x, by least squares; 0 where the points do not tell.
func Slope(x, y []float64) float64 {
	n := float64(min(len(x), len(y)))
	var sumX, sumY, sumXX, sumXY float64
	for i := range min(len(x), len(y)) {
		sumX, sumY = sumX+x[i], sumY+y[i]
		sumXX, sumXY = sumXX+x[i]*x[i], sumXY+x[i]*y[i]
	}
	if d := n*sumXX - sumX*sumX; d != 0 {
		return (n*sumXY - sumX*sumY) / d
	}
	return 0
}
