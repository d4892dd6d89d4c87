package inventory

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

var update = flag.Bool("update", false, "write golden files")

// TestGoldenLists parses the lists in testdata and compares what was taken, what was refused, and why.
func TestGoldenLists(t *testing.T) {
	for _, source := range []event.DeclarationSource{event.SourceCSV, event.SourceJSON, event.SourceSPIRE} {
		files, err := filepath.Glob(filepath.Join("testdata", string(source), "*.in"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", source, err, len(files))
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			list, err := Parse(source, "list", strings.NewReader(string(data)))
			if err != nil {
				fmt.Fprintf(&got, "error: %v\n", err)
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: more than one line: %q", file, err)
				}
			} else {
				for i := range list.Declarations {
					line, err := json.Marshal(&list.Declarations[i])
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&got, "%s\n", line)
				}
				for _, r := range list.Refusals {
					fmt.Fprintf(&got, "refused: %s\n", r)
				}
				if list.Refused != len(list.Refusals) {
					t.Errorf("%s: %d refused, %d told", file, list.Refused, len(list.Refusals))
				}
			}
			golden := strings.TrimSuffix(file, ".in") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("%s differs (go test -update writes it anew), got:\n%s", golden, got.String())
			}
		}
	}
}

// TestEncodings: byte order marks, line ends and other encodings, as spreadsheets write them.
func TestEncodings(t *testing.T) {
	const plain = "identity,owner\nspiffe://shop.example/a,\"team \"\"A\"\", shop\"\nspiffe://shop.example/b,b\n"
	want, err := Parse(event.SourceCSV, "list", strings.NewReader(plain))
	if err != nil || len(want.Declarations) != 2 || want.Declarations[0].Owner != `team "A", shop` {
		t.Fatalf("%+v %v", want, err)
	}
	for name, text := range map[string]string{
		"BOM":            "\xef\xbb\xbf" + plain,
		"CRLF":           strings.ReplaceAll(plain, "\n", "\r\n"),
		"BOM and CRLF":   "\xef\xbb\xbf" + strings.ReplaceAll(plain, "\n", "\r\n"),
		"no last line":   strings.TrimSuffix(plain, "\n"),
		"blank lines":    strings.ReplaceAll(plain, "\n", "\n\n"),
		"spaces":         strings.ReplaceAll(plain, "spiffe", " spiffe"),
		"capitals":       strings.Replace(plain, "identity,owner", "Identity, OWNER", 1),
		"lines repeated": plain + strings.SplitN(plain, "\n", 2)[1],
	} {
		got, err := Parse(event.SourceCSV, "list", strings.NewReader(text))
		if err != nil || !slices.EqualFunc(got.Declarations, want.Declarations, func(a, b event.Declaration) bool { return Equal(&a, &b) }) || got.Refused != 0 {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for text, want := range map[string]string{
		"\xff\xfei\x00":                        "UTF-16",
		"identity\nspiffe://shop.example/\xe4": "line 2: the list is not UTF-8",
		" \r\n":                                "is empty",
	} {
		if _, err := Parse(event.SourceCSV, "list", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse(event.SourceKubernetes, "list", strings.NewReader("x")); err == nil {
		t.Error("a cluster was read as a list")
	}
}

// TestFormulas: a list that Ambit printed has ' before what a spreadsheet would compute; it reads back as it was.
func TestFormulas(t *testing.T) {
	const text = "identity,owner,purpose\nspiffe://shop.example/a,'@team-shop,'=HYPERLINK(\"x\")\nspiffe://shop.example/b,@team-shop,'tis\n"
	got, err := Parse(event.SourceCSV, "list", strings.NewReader(strings.ReplaceAll(text, `'=HYPERLINK("x")`, `"'=HYPERLINK(""x"")"`)))
	if err != nil || len(got.Declarations) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	a, b := got.Declarations[0], got.Declarations[1]
	if a.Owner != "@team-shop" || a.Purpose != `=HYPERLINK("x")` || b.Owner != "@team-shop" || b.Purpose != "'tis" {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString("identity\n")
	for i := range maxRefusals + 50 {
		fmt.Fprintf(&b, "wrong%d\n", i)
	}
	l, err := Parse(event.SourceCSV, "list", strings.NewReader(b.String()))
	if err != nil || l.Refused != maxRefusals+50 || len(l.Refusals) != maxRefusals || len(l.Declarations) != 0 {
		t.Errorf("%d refused, %d told, %d taken, %v", l.Refused, len(l.Refusals), len(l.Declarations), err)
	}
	if _, err := Parse(event.SourceJSON, "list", strings.NewReader("["+strings.Repeat(" ", MaxBytes)+"]")); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("%v", err)
	}
}

// TestFaultyLine: the line that is told is the one to repair, however long the list is.
func TestFaultyLine(t *testing.T) {
	const entry = "{\"identity\": \"spiffe://shop.example/%d\",\n  \"owner\": \"x\"\n}\n,\n"
	for begin, end := range map[string]string{"[\n": "]\n", "{\"declarations\":\n[\n": "]\n}\n"} {
		var b strings.Builder
		b.WriteString(begin)
		for i := range 1000 {
			fmt.Fprintf(&b, entry, i)
		}
		want := fmt.Sprintf("line %d: no JSON", 1+strings.Count(b.String(), "\n"))
		b.WriteString("{\"identity\": oops}\n" + end)
		if _, err := Parse(event.SourceJSON, "list", strings.NewReader(b.String())); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", begin, err, want)
		}
	}
}

// TestManyColumns: a line of column names that is made to be long costs nothing.
func TestManyColumns(t *testing.T) {
	var b strings.Builder
	b.WriteString("identity")
	for i := range 1_000_000 {
		fmt.Fprintf(&b, ",label:%d", i)
	}
	if _, err := Parse(event.SourceCSV, "list", strings.NewReader(b.String()+"\n")); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("%v", err)
	}
}

// TestOrder: what a list declares does not depend on the order of its entries, nor on how often it is read.
func TestOrder(t *testing.T) {
	for _, source := range []event.DeclarationSource{event.SourceCSV, event.SourceJSON, event.SourceSPIRE} {
		rapid.Check(t, func(r *rapid.T) {
			entries := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) string { return drawEntry(r, source) }), 1, 12).Draw(r, "entries")
			mixed := rapid.Permutation(entries).Draw(r, "mixed")
			read := func(entries []string) *List {
				l, err := Parse(source, "list", strings.NewReader(document(source, entries)))
				if err != nil {
					r.Fatal(err)
				}
				return l
			}
			want, got := read(entries), read(mixed)
			if !slices.EqualFunc(want.Declarations, got.Declarations, func(a, b event.Declaration) bool { return Equal(&a, &b) }) || (want.Refused == 0) != (got.Refused == 0) {
				r.Fatalf("%+v\nin another order %+v", want, got)
			}
			for i := range got.Declarations {
				d := &got.Declarations[i]
				if err := d.Validate(); err != nil {
					r.Fatalf("%v: %+v", err, d)
				}
				if i > 0 && got.Declarations[i-1].Identity.String() >= d.Identity.String() {
					r.Fatalf("%s is not behind %s", d.Identity, got.Declarations[i-1].Identity)
				}
			}
		})
	}
}

func document(source event.DeclarationSource, entries []string) string {
	switch source {
	case event.SourceCSV:
		return "identity,owner,privilege\n" + strings.Join(entries, "\n")
	case event.SourceSPIRE:
		return `{"entries": [` + strings.Join(entries, ",\n") + `], "next_page_token": ""}`
	}
	return "[" + strings.Join(entries, ",\n") + "]"
}

func drawEntry(r *rapid.T, source event.DeclarationSource) string {
	path := rapid.SampledFrom([]string{"/a", "/b", "/ns/shop/sa/c", "/bad path", ""}).Draw(r, "path")
	word := rapid.SampledFrom([]string{"", "x", "y"}).Draw(r, "word")
	number := rapid.IntRange(0, 3).Draw(r, "number")
	switch source {
	case event.SourceCSV:
		return fmt.Sprintf("spiffe://shop.example%s,%s,%s", path, word, []string{"", "low", "high", "odd"}[number])
	case event.SourceSPIRE:
		return fmt.Sprintf(`{"spiffe_id": {"trust_domain": "shop.example", "path": %q}, "admin": %v, "expires_at": "%d", "hint": %q,
			"selectors": [{"type": "k8s", "value": "ns:%s"}]}`, path, number == 1, number*1_900_000_000, word, word)
	}
	return fmt.Sprintf(`{"identity": "spiffe://shop.example%s", "owner": %q, "tokens": %s}`, path, word, []string{"[]", `["bound"]`, `["bound","bound"]`, `["x"]`}[number])
}

// checkForeign is what must hold of any bytes: an error or refusals in one line each, and valid declarations whose identity stands in the text.
func checkForeign(t *testing.T, source event.DeclarationSource, data []byte) {
	l, err := Parse(source, "list", strings.NewReader(string(data)))
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
		return
	}
	for i := range l.Declarations {
		d := &l.Declarations[i]
		if err := d.Validate(); err != nil {
			t.Errorf("%v: %+v", err, d)
		}
		if again, err := event.ParseIdentity(d.Identity.String()); err != nil || again != d.Identity {
			t.Errorf("%s: %v", d.Identity, err)
		}
		if source == event.SourceCSV && !strings.Contains(string(data), d.Identity.String()) {
			t.Errorf("%s stands nowhere in the list", d.Identity)
		}
	}
	for _, r := range l.Refusals {
		if r.Line < 1 || r.Line > 1+strings.Count(string(data), "\n") {
			t.Errorf("refused in line %d of %d", r.Line, 1+strings.Count(string(data), "\n"))
		}
	}
}

func seed(f *testing.F, source event.DeclarationSource) {
	files, err := filepath.Glob(filepath.Join("testdata", string(source), "*.in"))
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzCSV(f *testing.F) {
	seed(f, event.SourceCSV)
	f.Fuzz(func(t *testing.T, data []byte) { checkForeign(t, event.SourceCSV, data) })
}

func FuzzJSON(f *testing.F) {
	seed(f, event.SourceJSON)
	f.Fuzz(func(t *testing.T, data []byte) { checkForeign(t, event.SourceJSON, data) })
}

func FuzzSPIRE(f *testing.F) {
	seed(f, event.SourceSPIRE)
	f.Fuzz(func(t *testing.T, data []byte) { checkForeign(t, event.SourceSPIRE, data) })
}
