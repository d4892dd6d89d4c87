package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// tagged is what handlers write to. It knows the request, so that what the client has already need not be sent again.
type tagged struct {
	http.ResponseWriter
	r *http.Request
}

// Unwrap is for [http.ResponseController].
func (a *tagged) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// unchanged tags a whole answer, and says whether the client has it: then nothing more is to be written.
func unchanged(w http.ResponseWriter, body []byte) bool {
	a, ok := w.(*tagged)
	if !ok || a.r.Method != http.MethodGet && a.r.Method != http.MethodHead {
		return false
	}
	h := w.Header()
	if h.Get("ETag") == "" {
		sum := sha256.Sum256(body)
		h.Set("ETag", `W/"`+hex.EncodeToString(sum[:16])+`"`) // weak: it may be compressed
	}
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Authorization, Cookie")
	if !anyTag(a.r.Header.Values("If-None-Match"), h.Get("ETag")) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// anyTag says whether a list of tags holds one, compared weakly.
func anyTag(lists []string, tag string) bool {
	for _, list := range lists {
		for t := range strings.SplitSeq(list, ",") {
			t = strings.TrimSpace(t)
			if t == "*" || strings.TrimPrefix(t, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// versionTag is the tag of what has versions.
func versionTag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// expectedVersion is what If-Match says that a write replaces: nil where it says nothing, 0 where there is to be none (If-None-Match: *).
func expectedVersion(r *http.Request) (*uint64, error) {
	var version uint64
	if r.Header.Get("If-None-Match") == "*" {
		return &version, nil
	}
	text := r.Header.Get("If-Match")
	if text == "" {
		return nil, nil
	}
	version, err := strconv.ParseUint(strings.Trim(text, `"`), 10, 64)
	if err != nil || len(text) < 3 || text[0] != '"' {
		return nil, problem(http.StatusBadRequest, "If-Match %.40q is not one tag that this API gave", text)
	}
	return &version, nil
}
