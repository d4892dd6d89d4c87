package feed

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// window is how much of a feed's rate is used, and what was left out for it.
type window struct {
	Began   time.Time      `json:"began,omitzero"`
	Sent    int            `json:"sent,omitempty"`
	Left    int            `json:"left,omitempty"`    // records that were not sent
	First   uint64         `json:"first,omitempty"`   // sequence of the first of them: it makes the uid of the summary
	From    time.Time      `json:"from,omitzero"`     // when they happened
	Until   time.Time      `json:"until,omitzero"`    //
	ByRule  map[string]int `json:"by_rule,omitempty"` // bounded
	Highest event.Severity `json:"highest,omitempty"`
}

const maxSummaryRules = 20

// due says that the time is over.
func (w *window) due(now time.Time, per time.Duration) bool {
	return !w.Began.IsZero() && !now.Before(w.Began.Add(per))
}

// admit says whether one more may be sent, and counts it.
func (w *window) admit(now time.Time, rate Rate) bool {
	if rate.Limit == 0 {
		return true
	}
	if w.Began.IsZero() {
		w.Began = now
	}
	if w.Sent >= rate.Limit {
		return false
	}
	w.Sent++
	return true
}

// leave counts a record that is not sent.
func (w *window) leave(r *Record, sequence uint64) {
	if w.Left == 0 {
		w.First, w.From, w.ByRule = sequence, r.at(), map[string]int{}
	}
	w.Left++
	w.Until = r.at()
	rule := r.rule()
	if _, known := w.ByRule[rule]; !known && len(w.ByRule) >= maxSummaryRules {
		rule = "other"
	}
	w.ByRule[rule]++
	if slices.Index(severityOrder, r.severity()) >= slices.Index(severityOrder, w.Highest) {
		w.Highest = r.severity()
	}
}

// clone is a copy that shares nothing.
func (w *window) clone() window {
	c := *w
	if w.ByRule != nil {
		c.ByRule = map[string]int{}
		for k, n := range w.ByRule {
			c.ByRule[k] = n
		}
	}
	return c
}

// summary tells what was left out, as a finding about nobody.
func (w *window) summary(c *Config, now time.Time) *Record {
	f := &event.Finding{
		ID: "feed-summary-" + c.Name + "-" + strconv.FormatUint(w.First, 10), Rule: "feed-summary", Severity: cmp.Or(w.Highest, event.Info), Status: event.StatusNew, Confidence: 1,
		Title:     fmt.Sprintf("%d more than the feed %s may send in %s", w.Left, c.Name, c.Rate.Per),
		FirstTime: w.From, LastTime: later(w.From, w.Until), Count: uint64(w.Left),
	}
	for _, rule := range sortedKeys(w.ByRule) {
		f.Explanation = append(f.Explanation, fmt.Sprintf("%d of %s.", w.ByRule[rule], rule))
	}
	f.Explanation = append(f.Explanation, "They were not sent one by one; `ambit findings` lists them.")
	return &Record{Finding: f, Life: Create, Time: now, UID: f.ID}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
