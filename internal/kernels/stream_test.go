package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// guest reads what a guest said.
func guest(t *testing.T, name string, k kernel) guestRun {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := guestRun{kernel: k}
	if err := readGuest(t.Context(), f, io.Discard, &r, newProgress(io.Discard)); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	kernel510 = kernel{series: "5.10", version: "5.10.223-1"}
	kernel72  = kernel{series: "7.x", version: "7.2.13-1"}
)

func TestReadGuest(t *testing.T) {
	f := func(file string, done bool, troubles int, want ...string) {
		t.Helper()
		r := guest(t, file, kernel510)
		var got []string
		for _, test := range r.tests {
			got = append(got, strings.Join(strings.Fields(test.pkg+" "+test.name+" "+test.outcome), " "))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: tests are\n%s\nwant\n%s", file, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if r.uname != "5.10.0-32-cloud-amd64" || r.done != done || len(r.trouble) != troubles {
			t.Errorf("%s: of %s, done %v, trouble %q", file, r.uname, r.done, r.trouble)
		}
	}
	f("guest-old.txt", true, 0,
		"bpf fail",
		"bpf TestKernelA pass",
		"bpf TestKernelB fail",
		"bpf TestKernelB/good pass",
		"bpf TestKernelB/bad fail",
		"bpf TestKernelC skip",
		"agent/workload pass",
		"agent/workload TestKernelRunning pass",
	)
	f("guest-panic.txt", false, 0,
		"bpf",
		"bpf TestKernelA pass",
		"bpf TestKernelB",
		"bpf TestKernelB/good pass",
	)
	f("guest-leak.txt", true, 1,
		"bpf pass",
		"bpf TestKernelA pass",
	)
}

func FuzzCollect(f *testing.F) {
	f.Add(`{"Action":"run","Test":"A"}{"Action":"output","Test":"A","Output":"x\n"}{"Action":"pass","Test":"A","Elapsed":1.5}`)
	f.Add(`{"Action":"fail"}`)
	f.Add(`{"Action":`)
	f.Fuzz(func(t *testing.T, text string) {
		ended := 0
		tests := collect(strings.NewReader(text), "bpf", func(testRun) { ended++ })
		if len(tests) == 0 || tests[0].name != "" {
			t.Fatalf("the package is not first: %+v", tests)
		}
		seen := map[string]bool{}
		for _, test := range tests {
			if seen[test.name] {
				t.Errorf("%q is there twice", test.name)
			}
			seen[test.name] = true
			if test.outcome != "" {
				ended--
			}
		}
		if ended < 0 {
			t.Errorf("%d more tests have an outcome than ended", -ended)
		}
		if json.Valid([]byte(text)) && len(tests) > 2 {
			t.Errorf("%d tests in one event", len(tests))
		}
	})
}
