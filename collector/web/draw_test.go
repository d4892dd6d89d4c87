package web

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// What is more than nothing can be seen, and no bar leaves its drawing, whatever the numbers.
func TestColumnsStayInTheDrawing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Uint64(), 1, 60).Draw(t, "numbers")
		values := make([]float64, len(numbers))
		for i, n := range numbers {
			values[i] = float64(n)
		}
		for i, c := range columns(values, func(i int) bool { return i == 0 }, strconv.Itoa) {
			read := func(text string) float64 {
				x, err := strconv.ParseFloat(text, 64)
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			x, y, w, h := read(c.X), read(c.Y), read(c.W), read(c.H)
			if x < 0 || x+w > drawWidth+.1 || y < 0 || y+h > drawHeight+.1 || (h > 0) != (numbers[i] > 0) || c.Mark != (i == 0) {
				t.Fatalf("%d of %v is %+v", i, numbers, c)
			}
		}
	})
}

func testStory(t *testing.T) *report.Story {
	t.Helper()
	id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/cart")
	if err != nil {
		t.Fatal(err)
	}
	resource, err := event.ParseResource("dns:new.example:443/tcp")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 20, 3, 10, 0, 0, time.UTC)
	day := at.Truncate(24 * time.Hour)
	s := &report.Story{Since: day.AddDate(0, 0, -28), Finding: event.Finding{
		ID: "new-reach-1", Rule: "volume", Identity: id, Resource: resource, FirstTime: at, LastTime: at.Add(time.Minute), Count: 7,
		Baseline: []string{"dns:db.example:5432/tcp: 70 connections, last at 2026-03-19 10:00:00 UTC", "dns:api.example:443/tcp: 1 connection, last at never", "and 3 other resources"},
	}}
	for n := 10; n >= 0; n-- {
		use := store.DayUse{Day: day.AddDate(0, 0, -n), All: event.Counts{Connections: 100}, Hours: []int{9, 10}}
		if n == 0 {
			use.Counts, use.New = event.Counts{Connections: 7, BytesSent: 5 << 20}, 1
		}
		if n == 4 {
			use.Counts = event.Counts{Connections: 3, BytesSent: 1 << 20}
		}
		s.Days = append(s.Days, use)
	}
	return s
}

// The drawings say in words how the finding's day compares with those before it.
func TestChartsSayWhatTheyShow(t *testing.T) {
	s := testStory(t)
	says, marked := map[string]string{}, map[string]int{}
	for _, c := range chartsOf(s) {
		says[c.ID] = c.Says
		for _, x := range c.Columns {
			if x.Mark {
				marked[c.ID]++
			}
		}
		if len(c.Rows) == 0 {
			t.Errorf("%s is no table", c.ID)
		}
	}
	for id, want := range map[string]string{
		"edge":  "Up to 7 on a day of the finding. Of the 28 days before it was in use on 1, with 3 on average and 3 at most.",
		"bytes": "Up to 5.0 MiB on a day of the finding. Of the 28 days before it was in use on 1, with 1.0 MiB on average and 1.0 MiB at most.",
		"all":   "Up to 100 on a day of the finding. Of the 28 days before it was in use on 10, with 100 on average and 100 at most.",
		"new":   "Up to 1 on a day of the finding, and nothing on any of the 28 days before.",
		"hours": "The finding began at 03 h. On 0 of the 10 days before on which it did anything, it was active in that hour.",
	} {
		if says[id] != want || marked[id] != 1 {
			t.Errorf("%s: %d marked, %q, want %q", id, marked[id], says[id], want)
		}
	}
	s.Days = nil
	if got := chartsOf(s); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestBaselineIsDrawn(t *testing.T) {
	s := testStory(t)
	bars, rest := baseline(&s.Finding)
	if len(bars) != 3 || len(rest) != 1 || rest[0] != "and 3 other resources" {
		t.Fatalf("%+v, %q", bars, rest)
	}
	if b := bars[0]; b.Name != "dns:db.example:5432/tcp" || b.Value != "70" || b.Share != 100 || b.Note != "last at 2026-03-19 10:00:00 UTC" {
		t.Errorf("got %+v", b)
	}
	if b := bars[1]; b.Share != 1 {
		t.Errorf("got %+v", b)
	}
	if b := bars[2]; !b.Mark || b.Share != 10 || b.Value != "7" {
		t.Errorf("got %+v", b)
	}
}

// A word of a command line is one word for a shell, whatever is in it.
func TestQuote(t *testing.T) {
	for _, word := range []string{"plain", "spiffe://shop.example/ns/shop/sa/cart", "", "*", "it's", "$(rm x)", "`x`", "a b", "\\", "!", "~", "#x", "a\nb", "ä"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s' "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is %q: %v", word, out, err)
		}
	}
	if quote("spiffe://a/b") != "spiffe://a/b" {
		t.Error("what needs no quotes has some")
	}
}

func TestToldLeadsBack(t *testing.T) {
	for back, want := range map[string]string{
		"/findings?status=new&severity=high&done=3": "/findings?done=2&severity=high&status=new&verdict=suppress#at-x-1",
		"/findings/x-1":         "/findings/x-1?done=2&verdict=suppress#at-x-1",
		"https://evil.example/": "/findings?done=2&verdict=suppress#at-x-1",
		"//evil.example":        "/findings?done=2&verdict=suppress#at-x-1",
		"":                      "/findings?done=2&verdict=suppress#at-x-1",
	} {
		if got := told(back, event.VerdictSuppress, 2, "x-1"); got != want {
			t.Errorf("%q leads to %s, want %s", back, got, want)
		}
	}
	if got := told("/findings?done=2&verdict=resolve", event.VerdictResolve, 0, ""); got != "/findings" {
		t.Errorf("got %s", got)
	}
}

// Every verdict has words, and those that the page asks a reason or an end for are those that need one.
func TestVerdictsAreTold(t *testing.T) {
	for _, kind := range event.VerdictKinds() {
		v, ok := verdicts[kind]
		if !ok || v.Do == "" || v.Done == "" || v.Means == "" || v.Command == "" || v.Kind != kind {
			t.Errorf("%s is %+v", kind, v)
		}
		x := event.Verdict{Finding: "f", Rule: "r", Kind: kind, At: time.Now(), By: "kim"}
		id, err := event.ParseIdentity("spiffe://shop.example/ns/shop/sa/cart")
		if err != nil {
			t.Fatal(err)
		}
		x.Identity, x.Finding = id, event.FindingID(id, "r", event.Resource{})
		if x.Validate() != nil && !v.Reason {
			t.Errorf("%s needs a reason or an end, and is not asked for one: %v", kind, x.Validate())
		}
		if x.Reason = "because"; x.Validate() != nil && !v.Ends {
			t.Errorf("%s needs an end, and is not asked for one: %v", kind, x.Validate())
		}
		x.Until = x.At.Add(time.Hour)
		if (x.Validate() == nil) != v.MayEnd {
			t.Errorf("%s with an end: %v", kind, x.Validate())
		}
	}
}

func TestChosen(t *testing.T) {
	many := strings.Split(strings.Repeat("x,", maxAtOnce), ",")
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	for _, bad := range [][]string{nil, {""}, many} {
		if _, err := chosen(bad); status(err) != 400 {
			t.Errorf("%d: %v", len(bad), err)
		}
	}
	if got, err := chosen([]string{"b", "a", "b", ""}); err != nil || strings.Join(got, " ") != "a b" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "over", 1500 * time.Millisecond: "2 seconds", time.Minute: "1 minute", 90 * time.Minute: "90 minutes", 24 * time.Hour: "24 hours", 72 * time.Hour: "3 days"} {
		if got := left(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
