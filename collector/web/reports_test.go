package web

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/ambit-nhi/ambit/collector/report"
)

var texts = &sheet[string]{"texts", []string{"text", "length"}, func(s *string) []string { return []string{*s, strconv.Itoa(len(*s))} }}

// listed lists parts of texts, each with the number of the next one as its cursor, and err behind them.
func listed(parts [][]string, err error, asked func(part int)) listing[string] {
	return func(_ context.Context, p report.Paging) (*report.List[string], error) {
		n, _ := strconv.Atoi(p.Cursor)
		if asked != nil {
			asked(n)
		}
		if n == len(parts) {
			return nil, err
		}
		out := &report.List[string]{Items: parts[n]}
		if n+1 < len(parts) || err != nil {
			out.Next = strconv.Itoa(n + 1)
		}
		return out, nil
	}
}

// A file holds all parts of a report, each of which is written before the next one is read.
func TestFile(t *testing.T) {
	var b bytes.Buffer
	parts := [][]string{{"a", "b"}, {"c"}, {}, {"d"}}
	written := []string{"", "text,length\na,1\nb,1\n", "text,length\na,1\nb,1\nc,1\n", "text,length\na,1\nb,1\nc,1\n"}
	f, err := texts.file(t.Context(), time.Date(2026, 3, 2, 23, 0, 0, 0, time.UTC), listed(parts, nil, func(n int) {
		if b.String() != written[n] {
			t.Errorf("%q is written when part %d is read, want %q", b.String(), n, written[n])
		}
	}))
	if err != nil || f.Name != "ambit-texts-2026-03-02.csv" {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := f.Write(t.Context(), &b); err != nil || b.String() != "text,length\na,1\nb,1\nc,1\nd,1\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// What cannot be read at all, or would be too long, is an answer of its own; what cannot be read to its end says so in its last row.
func TestFileErrors(t *testing.T) {
	away := errors.New("away")
	if _, err := texts.file(t.Context(), time.Time{}, listed(nil, away, nil)); !errors.Is(err, away) {
		t.Errorf("the first part: %v", err)
	}
	_, err := texts.file(t.Context(), time.Time{}, func(context.Context, report.Paging) (*report.List[string], error) {
		return &report.List[string]{Total: maxFile + 1}, nil
	})
	if status(err) != http.StatusBadRequest {
		t.Errorf("a report that is too long: %v", err)
	}
	write := func(parts listing[string]) (string, error) {
		f, err := texts.file(t.Context(), time.Time{}, parts)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err = f.Write(t.Context(), &b)
		rows := strings.Split(strings.TrimSpace(b.String()), "\n")
		return rows[len(rows)-1], err
	}
	last, err := write(listed([][]string{{"a"}}, away, nil))
	if !errors.Is(err, away) || !strings.HasPrefix(last, "NOT COMPLETE") {
		t.Errorf("the second part: %v; the last row is %q", err, last)
	}
	asked := 0
	last, err = write(func(_ context.Context, p report.Paging) (*report.List[string], error) {
		asked++
		return &report.List[string]{Items: make([]string, p.Limit), Next: strconv.Itoa(asked)}, nil
	})
	if !errors.Is(err, errLong) || asked != maxFile/maxExport || !strings.HasPrefix(last, "NOT COMPLETE") {
		t.Errorf("a report without an end: %v, asked for %d times; the last row is %q", err, asked, last)
	}
	f, err := texts.file(t.Context(), time.Time{}, listed([][]string{{"a"}, {"b"}}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(t.Context(), full{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a client that takes nothing: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// A client notices that a file is cut, whether it was short or long, packed or not, and by which protocol it came.
func TestFileIsBrokenOff(t *testing.T) {
	pack, err := gzhttp.NewWrapper(gzhttp.MinSize(1400)) // as the API's server does
	if err != nil {
		t.Fatal(err)
	}
	site := &Site{log: slog.New(slog.DiscardHandler)}
	handler := pack(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("rows"))
		var fault error
		if r.URL.Query().Has("cut") {
			fault = errors.New("away")
		}
		f, err := texts.file(r.Context(), time.Time{}, listed([][]string{slices.Repeat([]string{"some text"}, n)}, fault, nil))
		if err != nil {
			t.Error(err)
			return
		}
		site.send(w, r, f)
	}))
	for _, h2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(handler)
		server.EnableHTTP2 = h2
		server.StartTLS()
		t.Cleanup(server.Close)
		ask := func(method, query, packed string) (*http.Response, []byte, error) {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			if packed != "" {
				r.Header.Set("Accept-Encoding", packed)
			}
			answer, err := server.Client().Do(r)
			if err != nil {
				return nil, nil, err
			}
			defer answer.Body.Close()
			data, err := io.ReadAll(answer.Body)
			return answer, data, err
		}
		for _, packed := range []string{"", "identity", "gzip"} { // "" unpacks what comes
			for _, rows := range []int{1, 100, maxExport} {
				query := "/?rows=" + strconv.Itoa(rows)
				answer, data, err := ask(http.MethodGet, query, packed)
				if err != nil || (answer.ProtoMajor == 2) != h2 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/csv") {
					t.Fatalf("%d rows: %+v, %v", rows, answer, err)
				}
				if all, err := csv.NewReader(bytes.NewReader(data)).ReadAll(); packed != "gzip" && (err != nil || len(all) != rows+1) {
					t.Errorf("%d rows are %d, %v", rows, len(all)-1, err)
				}
				if _, data, err := ask(http.MethodGet, query+"&cut=1", packed); err == nil {
					t.Errorf("packed %q, HTTP/2 %t: a cut file of %d rows, %d bytes, looks whole", packed, h2, rows, len(data))
				}
			}
		}
		if answer, data, err := ask(http.MethodHead, "/?rows=1&cut=1", ""); err != nil || answer.StatusCode != http.StatusOK || len(data) != 0 {
			t.Errorf("its head: %+v, %v", answer, err)
		}
	}
}

// No cell begins like something that a spreadsheet would compute, or holds what nobody sees.
func TestCells(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var b bytes.Buffer
		if err := texts.write(t.Context(), &b, &report.List[string]{Items: []string{in}}, nil); err != nil {
			t.Fatal(err)
		}
		all, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(all) != 2 || all[1][0] != want {
			t.Errorf("%q becomes %q, want %q, %v", in, all, want, err)
		}
	}
	f("plain", "plain")
	f("", "")
	f("a=1", "a=1")
	f(`"quoted", and so on`, `"quoted", and so on`)
	for _, first := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠"} {
		f(first+"HYPERLINK(\"https://x.example\")", "'"+first+"HYPERLINK(\"https://x.example\")")
	}
	f("\t=1", "'�=1")
	f("\r=1", "'�=1")
	f("\n=1", "'�=1")
	f("a\n=1,b", "a�=1,b")
	f("a\u202eb\x00", "a�b�")
}
