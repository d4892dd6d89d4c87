package nearest

import (
	"testing"

	"pgregory.net/rapid"
)

// TestDistance holds the properties of a distance.
func TestDistance(t *testing.T) {
	word := rapid.StringMatching(`[a-c]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		if d := distance(a, b); d != distance(b, a) || (d == 0) != (a == b) || d > distance(a, c)+distance(c, b) || d > max(len(a), len(b)) {
			t.Errorf("%q and %q: %d", a, b, d)
		}
	})
	if got := distance("kitten", "sitting"); got != 3 {
		t.Errorf("kitten and sitting: %d", got)
	}
}

func TestHint(t *testing.T) {
	known := []string{"new-reach", "volume", "fan-out"}
	f := func(word, want string) {
		t.Helper()
		if got := Hint(word, known); got != want {
			t.Errorf("%s: %q instead of %q", word, got, want)
		}
	}
	f("new-reech", ", did you mean new-reach?")
	f("Volume", ", did you mean volume?")
	f("fanout", ", did you mean fan-out?")
	f("something-else", "")
	f("", "")
}
