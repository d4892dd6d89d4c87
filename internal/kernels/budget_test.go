package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sized(k kernel, sizes ...size) column { return column{run: guestRun{kernel: k}, sizes: sizes} }

const budgetText = budgetHead + `program    5.10.200  7.1.5
tcp_state  100/20    90/9
udp_bind4  10/1      -
`

func TestCheckBudget(t *testing.T) {
	file := filepath.Join(t.TempDir(), "verifier.txt")
	if err := os.WriteFile(file, []byte(budgetText), 0o644); err != nil {
		t.Fatal(err)
	}
	f := func(c column, all bool, want ...string) {
		t.Helper()
		lines, err := checkBudget(file, []column{c}, false, all)
		if err != nil || len(lines) != len(want) {
			t.Fatalf("got %q, %v, want %q", lines, err, want)
		}
		for i, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("got %q, want %q", lines[i], w)
			}
		}
	}
	tcp, udp := size{"tcp_state", 110, 22}, size{"udp_bind4", 10, 1}
	f(sized(kernel510, tcp, udp), true) // a tenth, and no more
	f(sized(kernel510, size{"tcp_state", 50, 5}, udp), true)
	f(sized(kernel510, size{"tcp_state", 111, 20}, udp), true, "tcp_state on 5.10.223 has 111 instructions, 100 before (on 5.10.200)")
	f(sized(kernel510, size{"tcp_state", 100, 23}, udp), true, "tcp_state on 5.10.223 has 23 states, 20 before")
	f(sized(kernel510, tcp, udp, size{"exec_name", 1, 1}), true, "exec_name on 5.10.223 has 1 instructions, 1 states, and is not in bpf/verifier.txt")
	f(sized(kernel510, tcp), true, "udp_bind4 on 5.10.223 was not measured")
	f(sized(kernel510), true, "tcp_state on 5.10.223 was not measured", "udp_bind4 on 5.10.223 was not measured")
	f(sized(kernel510), false)
	f(sized(kernel72, size{"tcp_state", 100, 9}), true, "tcp_state on 7.2.13 has 100 instructions, 90 before (on 7.1.5)")
	f(sized(kernel{series: "6.1", version: "6.1.176-1"}, udp), true, "udp_bind4 on 6.1.176 has 10 instructions, 1 states, and is not in")

	if _, err := checkBudget(file, []column{sized(kernel72, size{"tcp_state", 200, 9})}, true, true); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(strings.Replace(budgetText, "7.1.5\n", "7.2.13\n", 1), "90/9", "200/9", 1); string(b) != want {
		t.Errorf("the file is\n%s\nwant\n%s", b, want)
	}
	if _, err := checkBudget(file+"none", nil, false, true); err == nil {
		t.Error("no file is no fault")
	}
	if _, err := checkBudget(file+"none", nil, true, true); err != nil {
		t.Errorf("no file cannot be written: %v", err)
	}
}

// The file that is committed can be read, and is as this program writes it.
func TestBudgetFile(t *testing.T) {
	text, err := os.ReadFile("../../" + budgetFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseBudget(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(text) {
		t.Errorf("it would be written as\n%s", got)
	}
	for _, k := range series {
		if release, sizes := b.of(k.series); len(sizes) == 0 {
			t.Errorf("nothing of %s: %q", k.series, release)
		}
	}
}

func FuzzParseBudget(f *testing.F) {
	f.Add(budgetText)
	f.Add("program 5.10\nx 1\n")
	f.Add("program\n")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseBudget(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of lines: %q", err)
			}
			return
		}
		again, err := parseBudget(b.String())
		if err != nil {
			t.Fatalf("%v in %q", err, b.String())
		}
		for release, sizes := range b {
			if len(sizes) > 0 && !maps.Equal(sizes, again[release]) {
				t.Errorf("%v became %v", sizes, again[release])
			}
		}
	})
}
