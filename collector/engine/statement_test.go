package engine

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestParseStatement(t *testing.T) {
	for query, want := range map[string]struct {
		text, format, inline string
		stream               bool
	}{
		"SELECT 1":                      {text: "SELECT 1", stream: true},
		" -- INSERT\n/* x */ select 1":  {text: " -- INSERT\n/* x */ select 1", stream: true},
		"(SELECT 1) UNION ALL SELECT 2": {text: "(SELECT 1) UNION ALL SELECT 2", stream: true},
		"WITH 1 AS x SELECT x":          {text: "WITH 1 AS x SELECT x", stream: true},
		"SHOW TABLES":                   {text: "SHOW TABLES"},
		"":                              {},
		"INSERT INTO t FORMAT Native":   {text: "INSERT INTO t ", format: "Native"},
		"INSERT INTO t (a, `b)`) FORMAT Native\n\x02\x00":           {text: "INSERT INTO t (a, `b)`) ", format: "Native", inline: "\x02\x00"},
		"insert into d.t(a) settings x='FORMAT y' format TSV \n1\n": {text: "insert into d.t(a) settings x='FORMAT y' ", format: "TSV", inline: "1\n"},
		"INSERT INTO t FORMAT TSV\n\n1":                             {text: "INSERT INTO t ", format: "TSV", inline: "\n1"},
		"INSERT INTO format FORMAT Native":                          {text: "INSERT INTO format ", format: "Native"},
		"INSERT INTO format.format FORMAT Native":                   {text: "INSERT INTO format.format ", format: "Native"},
		"INSERT INTO TABLE format FORMAT CSV 1":                     {text: "INSERT INTO TABLE format ", format: "CSV", inline: "1"},
		"INSERT INTO FUNCTION null('x') FORMAT CSV":                 {text: "INSERT INTO FUNCTION null('x') ", format: "CSV"},
		"INSERT INTO \"a\\\"b\" /* FORMAT x */ FORMAT CSV":          {text: "INSERT INTO \"a\\\"b\" /* FORMAT x */ ", format: "CSV"},
		"INSERT INTO t VALUES ('FORMAT x')":                         {text: "INSERT INTO t VALUES ('FORMAT x')"},
		"INSERT INTO t FORMAT Values (1)":                           {text: "INSERT INTO t ", format: "Values", inline: "(1)"},
		"INSERT INTO t SELECT 1 FORMAT Native":                      {text: "INSERT INTO t SELECT 1 FORMAT Native"},
		"INSERT INTO t FROM INFILE 'x' FORMAT CSV":                  {text: "INSERT INTO t FROM INFILE 'x' FORMAT CSV"},
		"INSERT INTO t FORMAT":                                      {text: "INSERT INTO t FORMAT"},
		"INSERT INTO t (a":                                          {text: "INSERT INTO t (a"},
		"INSERT INTO 'x":                                            {text: "INSERT INTO 'x"},
	} {
		got := parseStatement([]byte(query))
		if string(got.text) != want.text || got.format != want.format || string(got.inline) != want.inline || got.stream != want.stream {
			t.Errorf("parseStatement(%q) = {%q %q %q %v}, want %+v", query, got.text, got.format, got.inline, got.stream, want)
		}
	}
}

// Whatever the rows are, they come out as they went in.
func TestStatementKeepsRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom([]string{"t", "format", "a.`b c`", "FUNCTION f(1, 'FORMAT x')", `"q""r" (x, y)`}).Draw(t, "table")
		format := rapid.SampledFrom([]string{"Native", "TSV", "RowBinary"}).Draw(t, "format")
		rows := rapid.SliceOf(rapid.Byte()).Draw(t, "rows")
		head := "INSERT INTO " + table + " "
		got := parseStatement(append([]byte(head+"FORMAT "+format+"\n"), rows...))
		if string(got.text) != head || got.format != format || !bytes.Equal(got.inline, rows) {
			t.Fatalf("got %q %q %q", got.text, got.format, got.inline)
		}
	})
}

func FuzzParseStatement(f *testing.F) {
	for _, seed := range []string{"SELECT 1", "INSERT INTO t (a) SETTINGS x='y' FORMAT Native\n\x01\x02", "INSERT INTO `a\\`b` /* */ -- x\n VALUES (1)", "/*", "'\\"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, query []byte) {
		s := parseStatement(query)
		if !bytes.HasPrefix(query, s.text) || !bytes.HasSuffix(query, s.inline) {
			t.Fatalf("parts of %q are not its own: %q %q", query, s.text, s.inline)
		}
		if s.format == "" {
			if len(s.text) != len(query) || len(s.inline) != 0 {
				t.Fatalf("%q lost text: %q %q", query, s.text, s.inline)
			}
			return
		}
		if between := query[len(s.text) : len(query)-len(s.inline)]; !bytes.Contains(between, []byte(s.format)) {
			t.Fatalf("format %q of %q is not between %q and %q", s.format, query, s.text, s.inline)
		}
		if again := parseStatement(s.text); again.format != "" {
			t.Fatalf("text %q of %q has a format still", s.text, query)
		}
	})
}
