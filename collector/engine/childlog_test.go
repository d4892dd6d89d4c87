package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChildLog(t *testing.T) {
	var out bytes.Buffer
	c := &childLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))}
	for _, part := range []string{
		"time=2026-11-21T22:00:10Z level=INFO msg=\"clickhouse ready\" version=1\n",
		"2026/11/21 22:00:10 WARN kill", " queries\n\n  \n",
		"2026.11.21 22:00:10 [ 1 ] {} <Error> Merge: broken\n2026.11.21 <Warning> slow\n",
		strings.Repeat("x", 2*maxLine), "\n", "data folder is in use",
	} {
		if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	c.close()
	want := `level=INFO msg="clickhouse: \"clickhouse ready\" version=1"
level=WARN msg="clickhouse: kill queries"
level=ERROR msg="clickhouse: 2026.11.21 22:00:10 [ 1 ] {} <Error> Merge: broken"
level=WARN msg="clickhouse: 2026.11.21 <Warning> slow"
level=INFO msg="clickhouse: ` + strings.Repeat("x", maxLine) + `"
level=INFO msg="clickhouse: data folder is in use"
`
	if out.String() != want {
		t.Errorf("logged\n%s\nwant\n%s", out.String(), want)
	}
	if got := c.last(); !strings.HasPrefix(got, ": 2026.11.21 <Warning> slow; xxx") || !strings.HasSuffix(got, "; data folder is in use") {
		t.Errorf("last lines are %q", got)
	}
}

func TestChildLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &childLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		for i := range maxLinesPerSec + 7 {
			fmt.Fprintln(c, "line", i)
		}
		time.Sleep(time.Second)
		fmt.Fprintln(c, "after")
		c.close()
		if got := strings.Count(out.String(), "\n"); got != maxLinesPerSec+2 {
			t.Errorf("logged %d lines, want %d", got, maxLinesPerSec+2)
		}
		if !strings.Contains(out.String(), "dropped_lines=7") {
			t.Errorf("drops are not stated:\n%s", out.String())
		}
	})
}
