package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// maxAnswer bounds what the API answers a page, in bytes.
const maxAnswer = 32 << 20

// ask sends a request to the API in the name of who sent r, in this process: what is changed goes the same way as that of every other client, with its
// roles, its audit trail and its bounds. in is sent as JSON unless it is nil, the answer is read into out unless that is nil. What the API refuses is a
// [Fault] with its words.
func (s *Site) ask(r *http.Request, method, path string, in, out any) error {
	return s.askIf(r, nil, method, path, in, out)
}

// askIf is ask for what replaces a version, 0 where there is to be none; nil takes any.
func (s *Site) askIf(r *http.Request, replaces *uint64, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
	}
	u, err := url.Parse(path)
	if err != nil {
		return fmt.Errorf("ask the API: %w", err)
	}
	inner := r.Clone(r.Context())
	inner.Method, inner.URL, inner.RequestURI, inner.Form, inner.PostForm = method, u, path, nil, nil
	inner.Body, inner.ContentLength = http.NoBody, 0
	for _, name := range []string{"Accept-Encoding", "If-None-Match", "If-Match", "Range", "Content-Type", "Content-Length"} {
		inner.Header.Del(name)
	}
	if replaces != nil && *replaces == 0 {
		inner.Header.Set("If-None-Match", "*")
	} else if replaces != nil {
		inner.Header.Set("If-Match", `"`+strconv.FormatUint(*replaces, 10)+`"`)
	}
	if in != nil {
		inner.Header.Set("Content-Type", "application/json")
		inner.Body, inner.ContentLength = newBody(&body), int64(body.Len())
	}
	if method != http.MethodGet {
		inner.Header.Set(csrfHeader, s.CSRF(r)) // r itself was looked at by action
	}
	a := &answer{header: http.Header{}, code: http.StatusOK}
	s.API.ServeHTTP(a, inner)
	if a.code >= 300 {
		var problem struct{ Detail, Title string }
		_ = json.Unmarshal(a.body.Bytes(), &problem) // without one, the status has to do
		text := problem.Detail
		if text == "" {
			text = http.StatusText(a.code)
		}
		return &Fault{a.code, text}
	}
	if out == nil {
		return nil
	}
	if a.over {
		return fmt.Errorf("read what the API answers: it is longer than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(a.body.Bytes(), out); err != nil {
		return fmt.Errorf("read what the API answers: %w", err)
	}
	return nil
}

// answer keeps what the API says.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
	over   bool
}

func (a *answer) Header() http.Header  { return a.header }
func (a *answer) WriteHeader(code int) { a.code = code }
func (a *answer) Write(b []byte) (int, error) {
	if a.body.Len()+len(b) > maxAnswer {
		a.over = true
		return len(b), nil
	}
	return a.body.Write(b)
}

type body struct{ *bytes.Reader }

func newBody(b *bytes.Buffer) body { return body{bytes.NewReader(b.Bytes())} }

func (body) Close() error { return nil }
