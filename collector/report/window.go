package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// maxWindow is what coverage is kept for.
const maxWindow = 400 * day

// ParseWindow reads a length of time such as 90d, 2w, 36h or 1h30m. It is positive and at most 400 days.
func ParseWindow(s string) (time.Duration, error) {
	d, err := parseWindow(s)
	if err != nil {
		return 0, fmt.Errorf("window %q: want a number with d, w or h, such as 90d", s)
	}
	if d <= 0 || d > maxWindow {
		return 0, fmt.Errorf("window %q: want more than nothing and at most %s", s, FormatWindow(maxWindow))
	}
	return d, nil
}

func parseWindow(s string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			return time.Duration(n) * unit, err
		}
	}
	return time.ParseDuration(s)
}

// FormatWindow writes a length of time as [ParseWindow] reads it.
func FormatWindow(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
