package web

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// column is one bar of a chart, in the units of its drawing.
type column struct {
	X, Y, W, H string
	Mark       bool // it is of the finding
	Title      string
}

// chart is a row of bars with what they say in words. It is drawn on the server, by attributes alone.
type chart struct {
	ID, Title, Says string
	Columns         []column
	Most            string // at the top of the axis
	From, Until     string // ends of the axis
	Head            []string
	Rows            [][]string // the same as a table
}

// Size of a drawing.
const (
	drawWidth  = 600.0
	drawHeight = 120.0
)

func decimals(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// columns lays bars out. What is more than nothing can be seen.
func columns(values []float64, mark func(int) bool, say func(int) string) []column {
	most := slices.Max(values)
	out := make([]column, len(values))
	step := drawWidth / float64(len(values))
	for i, v := range values {
		h := 0.0
		if most > 0 && v > 0 {
			h = max(2, v/most*drawHeight)
		}
		out[i] = column{decimals(float64(i)*step + step*0.1), decimals(drawHeight - h), decimals(step * 0.8), decimals(h), mark(i), say(i)}
	}
	return out
}

// chartsOf draws what a finding's identity did, so that the day of the finding stands beside the others.
func chartsOf(story *report.Story) []chart {
	f := &story.Finding
	days := make([]store.DayUse, 0, 31)
	byDay := map[int64]*store.DayUse{}
	for i := range story.Days {
		byDay[story.Days[i].Day.Unix()] = &story.Days[i]
	}
	for d := story.Since; !d.After(f.LastTime.Add(24 * time.Hour)); d = d.AddDate(0, 0, 1) {
		use := store.DayUse{Day: d}
		if x := byDay[d.Unix()]; x != nil {
			use = *x
		}
		days = append(days, use)
	}
	if len(days) == 0 || len(story.Days) == 0 {
		return nil
	}
	first := f.FirstTime.Truncate(24 * time.Hour)
	last := f.LastTime.Truncate(24 * time.Hour)
	of := func(i int) bool { return !days[i].Day.Before(first) && !days[i].Day.After(last) }
	before := func(i int) bool { return days[i].Day.Before(first) }
	var out []chart
	if !f.Resource.IsZero() {
		out = append(out, dayChart("edge", "Connections to "+f.Resource.String()+" by day", "connections", days, of, before, func(d *store.DayUse) uint64 { return d.Counts.Connections }, count))
		switch {
		case f.Rule == "volume" && sum(days, func(d *store.DayUse) uint64 { return d.Counts.BytesReceived }) > sum(days, func(d *store.DayUse) uint64 { return d.Counts.BytesSent }):
			out = append(out, dayChart("bytes", "Bytes received from there by day", "received", days, of, before, func(d *store.DayUse) uint64 { return d.Counts.BytesReceived }, size))
		case sum(days, func(d *store.DayUse) uint64 { return d.Counts.BytesSent }) > 0:
			out = append(out, dayChart("bytes", "Bytes sent there by day", "sent", days, of, before, func(d *store.DayUse) uint64 { return d.Counts.BytesSent }, size))
		}
	}
	out = append(out, dayChart("all", "All connections of the identity by day", "connections", days, of, before, func(d *store.DayUse) uint64 { return d.All.Connections }, count))
	if n := sum(days, func(d *store.DayUse) uint64 { return d.New }); n > 0 {
		out = append(out, dayChart("new", "Resources that it reached for the first time, by day", "new", days, of, before, func(d *store.DayUse) uint64 { return d.New }, count))
	}
	if story.Days[0].Day.Before(first) {
		out = append(out, hourChart(f, story.Days))
	}
	return out
}

func count(n uint64) string { return number(n) }

func sum(days []store.DayUse, of func(*store.DayUse) uint64) (n uint64) {
	for i := range days {
		n += of(&days[i])
	}
	return n
}

// dayChart draws one number by day, and says how the finding's days compare with those before.
func dayChart(id, name, unit string, days []store.DayUse, of, before func(int) bool, value func(*store.DayUse) uint64, write func(uint64) string) chart {
	values := make([]float64, len(days))
	c := chart{ID: id, Title: name, Head: []string{"Day (UTC)", title(unit)}}
	var most, peak, total, used, had, now uint64
	for i := range days {
		n := value(&days[i])
		values[i] = float64(n)
		most = max(most, n)
		if n > 0 || of(i) {
			c.Rows = append(c.Rows, []string{days[i].Day.Format(time.DateOnly), write(n)})
		}
		switch {
		case before(i):
			had++
			if n > 0 {
				used++
			}
			total, peak = total+n, max(peak, n)
		case of(i):
			now = max(now, n)
		}
	}
	c.Columns = columns(values, of, func(i int) string {
		return fmt.Sprintf("%s: %s", days[i].Day.Format(time.DateOnly), write(value(&days[i])))
	})
	c.Most, c.From, c.Until = write(most), days[0].Day.Format("2 Jan"), days[len(days)-1].Day.Format("2 Jan")
	switch {
	case had == 0:
		c.Says = fmt.Sprintf("Up to %s on a day of the finding; nothing is known from before.", write(now))
	case used == 0:
		c.Says = fmt.Sprintf("Up to %s on a day of the finding, and nothing on any of the %d days before.", write(now), had)
	default:
		mean := float64(total) / float64(used)
		c.Says = fmt.Sprintf("Up to %s on a day of the finding. Of the %d days before it was in use on %d, with %s on average and %s at most.",
			write(now), had, used, write(uint64(math.Round(mean))), write(peak))
	}
	return c
}

// hourChart draws on how many days before a finding, of which there are some, its identity was active in each hour of the day.
func hourChart(f *event.Finding, days []store.DayUse) chart {
	values := make([]float64, 24)
	n := 0
	for i := range days {
		if !days[i].Day.Before(f.FirstTime.Truncate(24 * time.Hour)) {
			continue
		}
		n++
		for _, h := range days[i].Hours {
			values[h]++
		}
	}
	first := f.FirstTime.UTC().Hour()
	c := chart{ID: "hours", Title: "Hours of the day (UTC) in which it is active", Head: []string{"Hour (UTC)", "Days"}, From: "0 h", Until: "23 h", Most: plural(int(slices.Max(values)), "day")}
	c.Columns = columns(values, func(i int) bool { return i == first }, func(i int) string { return fmt.Sprintf("%d h: on %.0f of %d days", i, values[i], n) })
	if values[first] == 0 { // it is marked although there is nothing
		c.Columns[first].Y, c.Columns[first].H = decimals(drawHeight-2), "2.0"
	}
	for h, v := range values {
		c.Rows = append(c.Rows, []string{fmt.Sprintf("%02d:00", h), fmt.Sprintf("%.0f", v)})
	}
	c.Says = fmt.Sprintf("The finding began at %02d h. On %.0f of the %d days before on which it did anything, it was active in that hour.", first, values[first], n)
	return c
}

// hundredth writes a number of 0 to 1 as a whole one of 100.
func hundredth(x float64) uint64 { return uint64(math.Round(100 * min(1, max(0, x)))) }

// bar is one line of a list with a length.
type bar struct {
	Name  string
	Value string
	Share uint64
	Mark  bool
	Note  string
}

// normalUse is how the detector writes what was normal, with its count.
var normalUse = regexp.MustCompile(`^(\S+): (\d{1,18}) connections?, last at (.+)$`)

// baseline draws what was normal when the finding was made, the finding itself beside it. What cannot be drawn is told as it is.
func baseline(f *event.Finding) (bars []bar, rest []string) {
	var counts []uint64
	for _, line := range f.Baseline {
		m := normalUse.FindStringSubmatch(line)
		if m == nil {
			rest = append(rest, line)
			continue
		}
		n, _ := strconv.ParseUint(m[2], 10, 64) // digits, and few
		counts = append(counts, n)
		bars = append(bars, bar{Name: m[1], Value: number(n), Note: "last at " + m[3]})
	}
	if len(bars) == 0 {
		return nil, rest
	}
	if !f.Resource.IsZero() && !slices.ContainsFunc(bars, func(b bar) bool { return b.Name == f.Resource.String() }) {
		counts = append(counts, f.Count)
		bars = append(bars, bar{Name: f.Resource.String(), Value: number(f.Count), Mark: true, Note: "the finding"})
	}
	most := slices.Max(counts)
	for i, n := range counts {
		if bars[i].Share = share(n, most); n > 0 {
			bars[i].Share = max(bars[i].Share, 1)
		}
	}
	return bars, rest
}
