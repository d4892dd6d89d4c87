package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

type identityView struct {
	*report.Identity
	Path, Encoded string // of the page, and of the API
	Reach         []report.Reach
	Direction     string
	NextReach     string
	FirstReach    string
	Activity      *report.Activity
	Heat          heat
	Window        string
	Windows       []string
	Certificates  []certificate
	Rotation      string
	Executables   []string
	Findings      []event.Finding
	MoreFindings  bool
	Open, New     uint64 // findings
	All           uint64
	Decisions     []decisionRow
	Denied        string // why decisions cannot be told
	MayDeny       bool
	Exemption     *store.Exemption
	Reviews       []store.Review
	Scope         *event.Scope
	Diff          *scope.Diff
	Today         string
	Latest        string // day to which an exemption may last
	Usual         string // day to which one lasts that nobody chose
}

// decisionRow is what the API says of a decision, as far as lists show it.
type decisionRow struct {
	ID, To, Direction, Mode, Reason, Requester, State string
	Issued, Expires                                   time.Time
}

const (
	reachOfPage    = 25
	findingsOfPage = 10
)

func (s *Site) showIdentity(r *http.Request, who Viewer) (any, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return nil, err
	}
	text, d, err := window(r, "30d")
	if err != nil {
		return nil, err
	}
	values, now := r.URL.Query(), s.now().UTC()
	v := &identityView{Path: identityPath(id), Encoded: url.PathEscape(id.String()), Direction: values.Get("direction"), MayDeny: who.May(s.Deny.dryRun()), Window: text, Windows: windows,
		Today: now.Format(time.DateOnly), Usual: now.AddDate(0, 0, 30).Format(time.DateOnly), Latest: now.AddDate(1, 0, 0).Format(time.DateOnly)}
	filter := store.ReachFilter{Limit: reachOfPage, Cursor: values.Get("reach")}
	switch v.Direction {
	case "", string(event.Outbound), string(event.Inbound):
		filter.Direction = event.Direction(v.Direction)
	default:
		return nil, faultf(http.StatusBadRequest, "direction is neither outbound nor inbound.")
	}
	g, ctx := errgroup.WithContext(r.Context())
	g.Go(func() (err error) {
		v.Identity, err = s.Reports.Identity(ctx, id)
		return err
	})
	g.Go(func() error {
		list, err := s.Reports.Reach(ctx, id, filter)
		if err != nil {
			return err
		}
		v.Reach = list.Items
		if list.Next != "" {
			v.NextReach = v.Path + "?" + url.Values{"direction": {v.Direction}, "reach": {list.Next}}.Encode() + "#reach"
		}
		return nil
	})
	g.Go(func() (err error) {
		v.Activity, err = s.Reports.Activity(ctx, id, now, d)
		return err
	})
	g.Go(func() error {
		list, err := s.Reports.Findings(ctx, store.FindingFilter{Identity: id, Limit: findingsOfPage})
		if err != nil {
			return err
		}
		v.Findings, v.MoreFindings = list.Items, list.Next != ""
		return nil
	})
	g.Go(func() error {
		counts, err := s.Reports.CountFindings(ctx, store.FindingFilter{Identity: id})
		if err != nil {
			return err
		}
		v.New, v.All = counts.Statuses[string(event.StatusNew)], counts.Total
		v.Open = v.New + counts.Statuses[string(event.StatusAcknowledged)]
		return nil
	})
	g.Go(func() error {
		e, err := s.Reports.Exemption(ctx, id, now)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		v.Exemption = &e
		return err
	})
	g.Go(func() error {
		list, err := s.Reports.ReviewsOf(ctx, id)
		if err != nil {
			return err
		}
		v.Reviews = list.Items[:min(len(list.Items), 20)]
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if filter.Cursor != "" {
		v.FirstReach = v.Path + "?" + url.Values{"direction": {v.Direction}}.Encode() + "#reach"
	}
	var page struct{ Items []decisionRow }
	if err := s.ask(r, http.MethodGet, "/api/v1/decisions?limit=25&identity="+url.QueryEscape(id.String()), nil, &page); err != nil {
		v.Denied = err.Error()
	}
	v.Decisions = page.Items
	if v.Scope, v.Diff, err = s.scopeOf(r, v.Encoded); err != nil {
		return nil, err
	}
	for i := range v.Reach {
		for _, x := range v.Reach[i].Executables {
			if !slices.Contains(v.Executables, x) {
				v.Executables = append(v.Executables, x)
			}
		}
	}
	slices.Sort(v.Executables)
	v.Heat = heatOf(v.Activity)
	v.Certificates, v.Rotation = certificatesOf(v.Credentials, now)
	return v, nil
}

// certificate is one that the identity presented, with where its life stands.
type certificate struct {
	store.Credential
	State    report.CredentialState
	Kind     string
	Lifetime string
	Left     string
	Share    uint64 // percent of its life that is over
	Dated    bool   // its validity is known
}

func certificatesOf(all []store.Credential, now time.Time) ([]certificate, string) {
	out := make([]certificate, 0, len(all))
	var begins []time.Time
	for _, c := range all {
		x := certificate{Credential: c, State: report.StateOfCredential(c.NotBefore, c.NotAfter, c.LastPresented, now), Kind: "certificate"}
		if c.Proven {
			x.Kind = "SVID"
		}
		if x.Dated = !c.NotBefore.IsZero() && c.NotAfter.After(c.NotBefore); x.Dated {
			begins = append(begins, c.NotBefore)
			x.Lifetime = lifespan(c.NotAfter.Sub(c.NotBefore))
			x.Share = uint64(max(0, min(100, 100*now.Sub(c.NotBefore)/c.NotAfter.Sub(c.NotBefore))))
			if x.Left = lifespan(c.NotAfter.Sub(now)) + " left"; now.After(c.NotAfter) {
				x.Left = "ended " + lifespan(now.Sub(c.NotAfter)) + " ago"
			}
		}
		out = append(out, x)
	}
	if len(begins) < 2 {
		return out, ""
	}
	slices.SortFunc(begins, time.Time.Compare)
	gaps := make([]time.Duration, 0, len(begins))
	for i := 1; i < len(begins); i++ {
		if d := begins[i].Sub(begins[i-1]); d > 0 {
			gaps = append(gaps, d)
		}
	}
	if len(gaps) == 0 {
		return out, ""
	}
	slices.Sort(gaps)
	return out, fmt.Sprintf("A new one every %s (the median of %d).", lifespan(gaps[len(gaps)/2]), len(gaps))
}

// lifespan writes a duration in its two largest units.
func lifespan(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < day:
		if m := d % time.Hour / time.Minute; m > 0 {
			return fmt.Sprintf("%d h %d min", d/time.Hour, m)
		}
		return fmt.Sprintf("%d h", d/time.Hour)
	case d < 10*day && d%day >= time.Hour:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	}
	return plural(int(d/day), "day")
}

// heat is a map of the hours of the week, drawn by attributes alone.
type heat struct {
	Cells []heatCell
	Days  []heatDay
	Hours []heatHour
	Says  string
	Unit  string
}

type heatHour struct {
	X    int
	Text string
}

type heatCell struct {
	X, Y, Level int
	Title       string
}

type heatDay struct {
	Name   string
	Y      int
	Values []string
}

var weekdays = [7]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

// Size of a cell of the map, with the space around it.
const (
	heatWidth  = 24
	heatHeight = 18
	heatLeft   = 34
	heatTop    = 16
	heatLevels = 5
)

// heatOf draws connections where they are counted for all of the window, else on how many days there were any.
func heatOf(a *report.Activity) heat {
	h := heat{Unit: "connections"}
	values := a.Connections
	if a.CountedSince.IsZero() || len(a.Days) > 0 && a.CountedSince.After(mustDay(a.Days[0].Day).Add(24*time.Hour)) {
		values, h.Unit = a.ActiveDays, "days"
	}
	var most, busy uint64
	top := [2]int{}
	for d := range values {
		for hour, n := range values[d] {
			if n > most {
				most, top = n, [2]int{d, hour}
			}
			if n > 0 {
				busy++
			}
		}
	}
	for d := range values {
		row := heatDay{Name: weekdays[d], Y: heatTop + d*heatHeight + heatHeight - 5}
		for hour, n := range values[d] {
			h.Cells = append(h.Cells, heatCell{heatLeft + hour*heatWidth, heatTop + d*heatHeight, level(n, most),
				fmt.Sprintf("%s %02d:00 to %02d:00 UTC: %s %s", weekdays[d], hour, hour+1, number(n), h.Unit)})
			row.Values = append(row.Values, number(n))
		}
		h.Days = append(h.Days, row)
	}
	for hour := range 24 {
		h.Hours = append(h.Hours, heatHour{heatLeft + hour*heatWidth + heatWidth/2 - 1, strconv.Itoa(hour)})
	}
	if most == 0 {
		h.Says = "It was not seen to do anything in this time."
		return h
	}
	h.Says = fmt.Sprintf("Active in %d of the 168 hours of the week; most on %s at %02d:00 UTC, with %s %s.", busy, weekdays[top[0]], top[1], number(most), h.Unit)
	return h
}

// level is how dark a cell is, 0 for nothing: each level stands for several times as much as the one before.
func level(n, most uint64) int {
	if n == 0 {
		return 0
	}
	out := heatLevels
	for limit := most; out > 1 && n <= limit/3; limit /= 3 {
		out--
	}
	return out
}

func mustDay(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{} // a report writes days
	}
	return t
}

// shortText is short of an identity that is told as text; what is none stays as it is.
func shortText(text string) string {
	id, err := event.ParseIdentity(text)
	if err != nil || !strings.Contains(text, "://") {
		return text
	}
	return short(id)
}
