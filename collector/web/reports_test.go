package web

import (
	"net/http"
	"strconv"
	"testing"
)

// A file holds all pages of a report, or says that it cannot.
func TestExport(t *testing.T) {
	pages := map[string][]string{"": {"a", "b"}, "b": {"c"}}
	all, err := export(func(cursor string) ([]string, string, error) {
		if cursor == "" {
			return pages[cursor], "b", nil
		}
		return pages[cursor], "", nil
	})
	if err != nil || len(all) != 3 || all[2] != "c" {
		t.Errorf("%v, %v", all, err)
	}
	asked := 0
	_, err = export(func(string) ([]int, string, error) {
		asked++
		return make([]int, maxExport), strconv.Itoa(asked), nil
	})
	if status(err) != http.StatusBadRequest || asked != maxFile/maxExport {
		t.Errorf("a report without an end: %v, asked for %d times", err, asked)
	}
}
