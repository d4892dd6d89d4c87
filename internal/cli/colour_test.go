package cli

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

type coloredRow struct{ severity, name, state string }

// Colours change nothing but colours: without them the table is the same, and only the words of some columns have any.
func TestPaintTable(t *testing.T) {
	rows := []coloredRow{{"critical", "high é high", "stable"}, {"info", "", "new"}, {"medium", "critical", ""}, {"", "x", "unstable"}, {"high", "ünïcode", "learning 10%"}}
	columns := []column[coloredRow]{
		{Head: "SEVERITY", Cell: func(r *coloredRow) string { return r.severity }},
		{Head: "NAME", Cell: func(r *coloredRow) string { return r.name }},
		{Head: "STATE", Cell: func(r *coloredRow) string { return r.state }},
	}
	var plain, painted bytes.Buffer
	if err := printTable(&plain, rows, columns); err != nil { // no terminal
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("there are colours where no terminal is")
	}
	if err := paintTable(&painted, plain.Bytes(), []string{"SEVERITY", "NAME", "STATE"}); err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`\x1b\[[0-9]*m`).ReplaceAllString(painted.String(), ""); got != plain.String() {
		t.Errorf("%q, want %q", got, plain.String())
	}
	for _, want := range []string{"\x1b[31mcritical\x1b[0m  high é high", "\x1b[32mstable\x1b[0m", "\x1b[33mmedium\x1b[0m    critical\n", "\x1b[33munstable\x1b[0m", "\x1b[31mhigh\x1b[0m      ünïcode"} {
		if !strings.Contains(painted.String(), want) {
			t.Errorf("%q lacks %q", painted.String(), want)
		}
	}
	if n := strings.Count(painted.String(), "\x1b["); n != 12 {
		t.Errorf("%d changes of colour, want 12: %q", n, painted.String())
	}
}
