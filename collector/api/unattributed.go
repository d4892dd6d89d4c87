package api

import (
	"net/http"
	"net/url"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Unattributed are connections that stand under an identity for want of a better one.
type Unattributed struct {
	Reason      event.Unattributed `json:"reason"`
	Meaning     string             `json:"meaning"` // of the reason
	Remedy      string             `json:"remedy"`
	Connections uint64             `json:"connections"` // both directions
	Nodes       []string           `json:"nodes"`       // at most 8
	LastTime    time.Time          `json:"last_time"`
	Executable  string             `json:"executable,omitempty"` // of the latest
	Cgroup      string             `json:"cgroup,omitempty"`     // of the latest
}

func unattributed(reasons []store.Unattributed) []Unattributed {
	var out []Unattributed
	for _, u := range reasons {
		meaning, remedy := report.Explain(u.Reason)
		out = append(out, Unattributed{u.Reason, meaning, remedy, u.Connections, list(u.Nodes), u.LastTime, u.Executable, u.Cgroup})
	}
	return out
}

// unattributed says since when identities are looked for that connections were not attributed to properly; zero: all identities are.
func (s *Server) unattributed(values url.Values) (time.Time, error) {
	word, err := oneOf(values, "unattributed", "true", "false")
	if err != nil {
		return time.Time{}, err
	}
	if word != "true" {
		if values.Has("window") {
			return time.Time{}, problem(http.StatusBadRequest, "window is known only together with unattributed=true")
		}
		return time.Time{}, nil
	}
	d, err := windowOf(values)
	if err != nil {
		return time.Time{}, err
	}
	return s.now().UTC().Add(-d), nil
}
