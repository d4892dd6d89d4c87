package feed

import "encoding/json"

// maker puts the parts of a format together. All of its functions are pure and safe for concurrent use.
type maker struct {
	kinds []Kind // that it can tell
	// encode makes the document of a record. An error means that there will never be one.
	encode func(m *making, r *Record) ([]byte, error)
	// join makes one body of several documents, of at most a batch; nil: each is sent by itself.
	join        func(bodies [][]byte) []byte
	contentType string
	updates     string // what is told of a finding that is not new, unless the configuration says: all, changes, none
}

// making is what an output's documents have in common.
type making struct {
	Version string // of Ambit
	Host    string // of this collector
	Link    string // URL of the pages or the API; a finding's is behind it; may be empty
	Labels  map[string]string
	Hold    int64 // seconds an alert stays in Alertmanager without news
	Channel string
}

var formats = map[string]maker{
	"json":          {kinds, encodeJSON, joinArray, "application/json", "all"},
	"ocsf":          {kinds, encodeOCSF, joinArray, "application/json", "all"},
	"ecs":           {kinds, encodeECS, joinArray, "application/json", "all"},
	"cef":           {[]Kind{KindFinding, KindDecision}, encodeCEF, joinLines, "text/plain; charset=utf-8", "all"},
	"rfc5424":       {[]Kind{KindFinding, KindDecision}, encodeSyslog, joinLines, "text/plain; charset=utf-8", "all"},
	"alertmanager":  {[]Kind{KindFinding}, encodeAlert, joinArray, "application/json", "all"},
	"falcosidekick": {[]Kind{KindFinding}, encodeFalco, nil, "application/json", "changes"},
	"slack":         {[]Kind{KindFinding, KindDecision}, encodeSlack, nil, "application/json", "changes"},
}

func joinArray(bodies [][]byte) []byte {
	out := []byte{'['}
	for i, b := range bodies {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b...)
	}
	return append(out, ']')
}

func joinLines(bodies [][]byte) []byte {
	var out []byte
	for _, b := range bodies {
		out = append(append(out, b...), '\n')
	}
	return out
}

// link is where people find a record.
func (m *making) link(r *Record) string {
	if m.Link == "" || r.Finding == nil || r.Finding.ID == "" {
		return ""
	}
	return m.Link + "/api/v1/findings/" + r.Finding.ID
}

// object is a JSON object whose empty members are left out.
type object map[string]any

// set puts a member in, unless it is empty.
func (o object) set(key string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
		value = clip(v)
	case []string:
		if len(v) == 0 {
			return
		}
	case []any:
		if len(v) == 0 {
			return
		}
	case []object:
		if len(v) == 0 {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	}
	o[key] = value
}

func encodeJSON(m *making, r *Record) ([]byte, error) {
	out := struct {
		Kind  string `json:"kind"`
		UID   string `json:"uid"`
		Life  Life   `json:"activity,omitempty"`
		Owner string `json:"owner,omitempty"`
		Link  string `json:"link,omitempty"`
		Test  bool   `json:"test,omitempty"`
		What  any    `json:"finding,omitempty"`
		Seen  any    `json:"observation,omitempty"`
		Deny  any    `json:"decision,omitempty"`
	}{UID: r.UID, Life: r.Life, Owner: r.Owner, Link: m.link(r), Test: r.Test}
	switch {
	case r.Finding != nil:
		out.Kind, out.What = "finding", r.Finding
	case r.Observation != nil:
		out.Kind, out.Seen = "observation", r.Observation
	default:
		d := *r.Decision
		d.Signature = nil // nodes check it; others have no use for it
		out.Kind, out.Deny = "decision", d
	}
	return json.Marshal(out)
}
