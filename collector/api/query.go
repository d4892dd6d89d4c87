package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxQuery     = 4096
)

// query reads the parameters of a request and refuses those that the route does not know.
func query(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the query cannot be read: %v", err)
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, problem(http.StatusBadRequest, "query parameter %q is unknown; there are none here", name)
			}
			return nil, problem(http.StatusBadRequest, "query parameter %q is unknown; known: %s", name, strings.Join(known, ", "))
		}
		if len(list) > 1 {
			return nil, problem(http.StatusBadRequest, "query parameter %q is given twice", name)
		}
		if len(list[0]) > maxQuery {
			return nil, problem(http.StatusBadRequest, "query parameter %q is longer than %d bytes", name, maxQuery)
		}
	}
	return values, nil
}

func limit(values url.Values) (int, error) {
	text := values.Get("limit")
	if !values.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, problem(http.StatusBadRequest, "limit %q is not a number from 1 to %d", text, maxLimit)
	}
	return n, nil
}

// oneOf reads a parameter that is one of a few words; absent it is "".
func oneOf(values url.Values, name string, words ...string) (string, error) {
	text := values.Get(name)
	if values.Has(name) && !slices.Contains(words, text) {
		return "", problem(http.StatusBadRequest, "%s %q is not one of %s", name, text, strings.Join(words, ", "))
	}
	return text, nil
}
