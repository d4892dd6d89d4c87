package nearest

import "testing"

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
