package health

import (
	"errors"
	"strings"
	"testing"
)

func TestSpace(t *testing.T) {
	f := func(free, files, ofFiles uint64, want State, says string) {
		t.Helper()
		c := space("/data", free, files, ofFiles)
		if c.State != want || !strings.Contains(c.String(), says) {
			t.Errorf("%d bytes, %d of %d files: %s", free, files, ofFiles, c)
		}
	}
	f(100<<30, 1_000_000, 2_000_000, OK, "disk: ok")
	f(100<<30, 0, 0, OK, "")
	f(512<<20, 1_000_000, 2_000_000, Warning, "disk: warning: 512 MiB are left where /data is")
	f(50<<20, 1_000_000, 2_000_000, Failed, "disk: failed: 50 MiB are left where /data is")
	f(100<<30, 999, 2_000_000, Failed, "only 999 more files fit")
}

func TestDisk(t *testing.T) {
	if c := Disk(t.TempDir()); c.State == "" || strings.Contains(c.Detail, "ask for") {
		t.Errorf("%s", c)
	}
	if c := Disk(t.TempDir() + "/none"); c.State != Failed || !strings.Contains(c.Detail, "no such file") {
		t.Errorf("%s", c)
	}
}

func TestReady(t *testing.T) {
	checks := []Check{Of("a", nil), Warn("b", "it is %s", "late")}
	if !Ready(checks) || checks[0].String() != "a: ok" || checks[1].String() != "b: warning: it is late" {
		t.Errorf("%v", checks)
	}
	if checks = append(checks, Of("c", errors.New("two\nlines "))); Ready(checks) || checks[2].String() != "c: failed: two lines" {
		t.Errorf("%v", checks)
	}
}
