// Package nearest finds the word that somebody meant.
package nearest

import "strings"

// Word is the known word that takes the fewest changes; with too many of them it is another word, and ok is false.
func Word(word string, known []string) (found string, ok bool) {
	best, least := "", len(word)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best, best != ""
}

// Hint is ", did you mean X?" where one of known is close to word, else "".
func Hint(word string, known []string) string {
	if found, ok := Word(word, known); ok {
		return DidYouMean(found)
	}
	return ""
}

// DidYouMean is the hint at a word.
func DidYouMean(word string) string { return ", did you mean " + word + "?" }

// distance is how many characters must be added, dropped or replaced (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
