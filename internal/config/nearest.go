package config

import "strings"

// Nearest returns the one of the known names that name is most likely a misspelling
// of, or "" if none is near. Case, hyphens and underscores make no difference.
func Nearest(name string, known []string) string {
	plain := strings.NewReplacer("-", "", "_", "", ".", "")
	name = plain.Replace(strings.ToLower(name))
	best, found := maxMistakes(name)+1, ""
	for _, k := range known {
		if d := distance(name, plain.Replace(strings.ToLower(k))); d < best {
			best, found = d, k
		}
	}
	return found
}

// maxMistakes is how many mistakes a name of that length may have and still be meant.
func maxMistakes(name string) int { return min(3, 1+len(name)/4) }

// longest is the length from which names are not compared, in bytes.
const longest = 64

// distance counts the characters that must be added, left out, changed or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
