package config

// Nearest returns the word that text was most likely meant to be, or "" where none is near: at most a third of its
// letters may differ (Levenshtein distance, with a swap of two neighbours counted once).
func Nearest(text string, among []string) string {
	best, bestDistance := "", max(1, len(text)/3)+1
	for _, word := range among {
		if d := distance(text, word); d < bestDistance {
			best, bestDistance = word, d
		}
	}
	return best
}

// distance is the optimal string alignment distance over bytes.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
