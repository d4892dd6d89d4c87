package main

import (
	"strings"
	"testing"
	"time"
)

func TestJudgeSkip(t *testing.T) {
	f := func(output, release string, want outcome, reason string) {
		t.Helper()
		got, why := judgeSkip(output, release)
		if got != want || why != reason {
			t.Errorf("%q on %s: %s, %q; want %s, %q", output, release, got, why, want, reason)
		}
	}
	const said = "    a_test.go:7: skip: needs iter/tcp, Linux >= 6.1\n--- SKIP: TestKernelA (0.00s)\n"
	f(said, "5.10.223", skip, "needs iter/tcp, Linux >= 6.1")
	f(said, "6.0", skip, "needs iter/tcp, Linux >= 6.1")
	f(said, "6.1.176", fail, "skips: needs iter/tcp, Linux >= 6.1, and this is 6.1.176")
	f(said, "6.12.107", fail, "skips: needs iter/tcp, Linux >= 6.1, and this is 6.12.107")
	f(said, "7.0.1", fail, "skips: needs iter/tcp, Linux >= 6.1, and this is 7.0.1")
	for _, other := range []string{
		"", "    a_test.go:7: not on this machine\n", "    a_test.go:7: skip: needs , Linux >= 6.1\n", "    a_test.go:7: skip: needs root\n",
		"    a_test.go:7: skip: needs iter/tcp, Linux >= 6\n",
	} {
		f(other, "5.10.223", fail, "skips, but not in the words 'skip: needs <feature>, Linux >= X.Y'")
	}
}

func TestOlder(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := older(a, b); got != want {
			t.Errorf("older(%s, %s) is %v", a, b, got)
		}
	}
	f("5.10.223", "5.10", false)
	f("5.10.223", "5.11", true)
	f("5.10.223", "6.1", true)
	f("6.1.5", "6.12", true)
	f("6.12", "6.2", false)
	f("7.2", "6.12", false)
}

func TestInSeries(t *testing.T) {
	f := func(version, series string, want bool) {
		t.Helper()
		if got := inSeries(version, series); got != want {
			t.Errorf("%s in %s is %v", version, series, got)
		}
	}
	f("6.1.176-1", "6.1", true)
	f("6.12.107-1", "6.1", false)
	f("6.12.107-1", "6.12", true)
	f("7.2.13-1", "7.x", true)
	f("8.0-1", "7.x", false)
	f("17.2-1", "7.x", false)
}

var expected = []testName{{"bpf", "TestKernelA"}, {"bpf", "TestKernelB"}, {"bpf", "TestKernelC"}, {"agent/workload", "TestKernelRunning"}}

func columnsForTest(t *testing.T) []column {
	old := guest(t, "guest-old.txt", kernel510)
	old.took = 200 * time.Second
	died := guest(t, "guest-panic.txt", kernel{series: "6.1", version: "6.1.176-1"})
	died.death, died.retries = "Kernel panic - not syncing: Fatal exception", 1
	young := guest(t, "guest-new.txt", kernel72)
	young.took, young.retries = 100*time.Second, 1
	return []column{judge(old, expected), judge(died, expected), judge(young, expected)}
}

func TestTable(t *testing.T) {
	columns := columnsForTest(t)
	var out strings.Builder
	printTable(&out, columns)
	printSizes(&out, columns)
	printFailures(&out, columns)
	golden(t, "table.golden", out.String())
	if passed, failed, skipped := totals(columns); passed != 6 || failed != 7 || skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", passed, failed, skipped)
	}
}

func TestNothingRan(t *testing.T) {
	o := options{cache: t.TempDir(), run: "^TestNone"}
	t.Chdir("../..") // where the budget is
	var out strings.Builder
	if err := report(o, []guestRun{{kernel: kernel510, done: true}}, nil, time.Second, &out); err != errFailed {
		t.Errorf("error is %v", err)
	}
	if !strings.HasSuffix(out.String(), "no test ran on any kernel\n\n1 kernels in 1s\n0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("it says %q", out.String())
	}
}

func TestJudgePackageThatFailedAlone(t *testing.T) {
	c := judge(guest(t, "guest-leak.txt", kernel510), expected[:1])
	if _, failed, _ := totals([]column{c}); failed != 1 || len(c.trouble) != 1 || !strings.Contains(c.trouble[0], "exit code 1") {
		t.Errorf("%d failed: %q", failed, c.trouble)
	}
}

func TestDeathOf(t *testing.T) {
	golden(t, "death.golden", deathOf("testdata/console-panic.txt")+"\n")
	if got := deathOf("testdata/guest-old.txt"); got != "" {
		t.Errorf("it died of %q", got)
	}
	if got := deathOf("testdata/none"); got != "" {
		t.Errorf("it died of %q", got)
	}
}
