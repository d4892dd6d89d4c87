package main

import (
	"fmt"
	"math"
	"strings"
)

// The plots are SVG, written by hand: three of them need no library.

const (
	plotWidth, plotHeight = 860, 360
	left, right           = 60, 30
	top, bottom           = 40, 50
)

var colours = [contestants]string{"#0b6e4f", "#c8553d", "#3d5a98"}

type plot struct{ strings.Builder }

func newPlot(title string, height int) *plot {
	p := &plot{}
	fmt.Fprintf(p, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(p, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	p.text(left, 18, "start", title)
	return p
}

func (p *plot) text(x, y float64, anchor, text string) {
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#222">%s</text>`+"\n", x, y, anchor, text)
}

func (p *plot) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (p *plot) curve(points [][2]float64, colour string) {
	var b strings.Builder
	for _, xy := range points {
		fmt.Fprintf(&b, "%.1f,%.1f ", xy[0], xy[1])
	}
	fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(b.String()), colour)
}

func (p *plot) bar(x, y, width, height float64, colour string) {
	fmt.Fprintf(p, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, width, height, colour)
}

func (p *plot) legend() {
	x := 420.
	for c, name := range names {
		p.bar(x, 8, 12, 12, colours[c])
		p.text(x+16, 18, "start", name)
		x += 40 + 6*float64(len(name))
	}
}

func (p *plot) end() string { return p.String() + "</svg>\n" }

// plotFindings shows the alerts of each day, the mean of the seeds, on a logarithmic scale.
func (r *results) plotFindings() string {
	p := newPlot("alerts of medium or higher a day, of 1,000 identities", plotHeight)
	p.legend()
	days := r.params.Days
	const least, most = .1, 10_000.
	y := func(v float64) float64 {
		share := math.Log10(max(v, least)/least) / math.Log10(most/least)
		return plotHeight - bottom - min(share, 1)*(plotHeight-top-bottom)
	}
	x := func(day int) float64 {
		return left + float64(day)/float64(max(days-1, 1))*(plotWidth-left-right)
	}
	for v := least; v <= most; v *= 10 {
		p.line(left, y(v), plotWidth-right, y(v), "#ddd")
		p.text(left-6, y(v)+4, "end", fmt.Sprintf("%g", math.Round(v*10)/10))
	}
	p.line(left, y(mostPerDay), plotWidth-right, y(mostPerDay), "#999")
	p.text(plotWidth-right, y(mostPerDay)-4, "end", fmt.Sprintf("target: %.0f", mostPerDay))
	for day := 0; day < days; day += 7 {
		p.text(x(day), plotHeight-bottom+18, "middle", fmt.Sprintf("day %d", day))
	}
	for c := range contestants {
		var points [][2]float64
		for day := range days {
			mean := r.over(func(v *run) float64 { return float64(v.scores[c].days[day]) * 1000 / float64(r.params.Identities) }).mean
			points = append(points, [2]float64{x(day), y(mean)})
		}
		p.curve(points, colours[c])
	}
	return p.end()
}

// plotFamilies shows the share that was found of each family.
func (r *results) plotFamilies() string {
	families := r.familyNames()
	const each, labels = 44, 220
	height := top + each*len(families) + bottom
	p := newPlot("share of attacks that were found", height)
	p.legend()
	x := func(share float64) float64 { return labels + share*(plotWidth-labels-right-40) }
	for i := range 6 {
		share := float64(i) / 5
		p.line(x(share), top-8, x(share), float64(height-bottom), "#ddd")
		p.text(x(share), float64(height-bottom+18), "middle", fmt.Sprintf("%.0f %%", 100*share))
	}
	for i, family := range families {
		y := float64(top + each*i)
		p.text(labels-8, y+22, "end", family)
		for c := range contestants {
			share, _ := r.family(c, family)
			p.bar(x(0), y+float64(c*12), max(x(share)-x(0), 1), 10, colours[c])
		}
	}
	return p.end()
}

// plotDelays shows the share of all attacks that were found within a time.
func (r *results) plotDelays() string {
	p := newPlot("share of attacks found within a time", plotHeight)
	p.legend()
	const least, most = .1, 1e5 // intervals
	x := func(v float64) float64 {
		return left + math.Log10(min(max(v, least), most)/least)/math.Log10(most/least)*(plotWidth-left-right)
	}
	y := func(share float64) float64 { return plotHeight - bottom - share*(plotHeight-top-bottom) }
	for i := range 6 {
		share := float64(i) / 5
		p.line(left, y(share), plotWidth-right, y(share), "#ddd")
		p.text(left-6, y(share)+4, "end", fmt.Sprintf("%.0f %%", 100*share))
	}
	for _, mark := range []struct {
		at   float64
		name string
	}{{.1, "1 s"}, {1, "10 s"}, {6, "1 min"}, {60, "10 min"}, {360, "1 h"}, {8640, "1 day"}, {1e5, "11 days"}} {
		p.line(x(mark.at), top, x(mark.at), plotHeight-bottom, "#eee")
		p.text(x(mark.at), plotHeight-bottom+18, "middle", mark.name)
	}
	for c := range contestants {
		var delays []float64
		all := 0
		for _, v := range r.runs {
			delays = append(delays, v.scores[c].delays()...)
			all += len(v.attacks)
		}
		points := [][2]float64{{x(least), y(0)}}
		for step := 0.; step <= 120; step++ {
			limit := least * math.Pow(most/least, step/120)
			n := 0
			for _, d := range delays {
				if d <= limit {
					n++
				}
			}
			points = append(points, [2]float64{x(limit), y(float64(n) / float64(max(all, 1)))})
		}
		p.curve(points, colours[c])
	}
	return p.end()
}
