package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// spireEntry is what is needed of an entry in the output of `spire-server entry show -output json`. Fields that are not known are left alone:
// newer servers have more.
type spireEntry struct {
	ID         string          `json:"id"`
	SPIFFEID   json.RawMessage `json:"spiffe_id"`
	ParentID   json.RawMessage `json:"parent_id"`
	Selectors  []spireSelector `json:"selectors"`
	Admin      bool            `json:"admin"`
	Downstream bool            `json:"downstream"`
	ExpiresAt  epoch           `json:"expires_at"`
	CreatedAt  epoch           `json:"created_at"`
	X509TTL    int32           `json:"x509_svid_ttl"`
	Hint       string          `json:"hint"`
}

type spireSelector struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// epoch is a time in seconds, which protobuf's JSON writes as a string; 0 is never.
type epoch time.Time

func (e *epoch) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	switch {
	case string(data) == "null" || string(data) == `""`:
		return nil
	case err != nil:
		return fmt.Errorf("%s is not a number of seconds", shorten(string(data)))
	case n != 0:
		*e = epoch(time.Unix(n, 0).UTC())
	}
	return nil
}

func parseSPIRE(data []byte, c *collect) error {
	return eachEntry(data, "entries", func(line int, raw json.RawMessage) error {
		fields, err := object(raw)
		if err != nil {
			c.refuse(line, "", err.Error())
			return nil
		}
		var e spireEntry
		for _, f := range []struct {
			name string
			into any
		}{
			{"id", &e.ID}, {"spiffe_id", &e.SPIFFEID}, {"parent_id", &e.ParentID}, {"selectors", &e.Selectors}, {"admin", &e.Admin},
			{"downstream", &e.Downstream}, {"expires_at", &e.ExpiresAt}, {"created_at", &e.CreatedAt}, {"x509_svid_ttl", &e.X509TTL}, {"hint", &e.Hint},
		} {
			value, ok := fields[f.name]
			if !ok {
				continue
			}
			if err := json.Unmarshal(value, f.into); err != nil {
				c.refuse(line, f.name, jsonKind(err).Error())
				return nil
			}
		}
		d, field, err := e.declaration()
		if err != nil {
			c.refuse(line, field, err.Error())
			return nil
		}
		return c.take(line, d, joinEntries)
	})
}

func (e *spireEntry) declaration() (d event.Declaration, field string, err error) {
	if d.Identity, err = spiffeID(e.SPIFFEID); err != nil {
		return d, "spiffe_id", err
	}
	d.Kind, d.Created, d.Expires = "registration-entry", time.Time(e.CreatedAt), time.Time(e.ExpiresAt)
	d.Privilege = event.PrivilegeNone // of SPIRE itself
	if e.Admin {
		d.Privilege = event.PrivilegeHigh
		d.PrivilegeReasons = append(d.PrivilegeReasons, "may change SPIRE's registration entries (admin)")
	}
	if e.Downstream {
		d.Privilege = event.PrivilegeHigh
		d.PrivilegeReasons = append(d.PrivilegeReasons, "may sign certificates of the trust domain (downstream)")
	}
	if !e.Admin && !e.Downstream {
		d.Privilege = ""
	}
	d.Annotations = map[string]string{}
	parent := ""
	if len(e.ParentID) > 0 && string(e.ParentID) != "null" {
		id, err := spiffeID(e.ParentID)
		if err != nil {
			return d, "parent_id", err
		}
		parent = id.String()
	}
	note := func(key, value string) {
		if value != "" {
			d.Annotations[key] = value
		}
	}
	note("spire/parent_id", parent)
	note("spire/hint", e.Hint)
	var selectors []string
	for _, s := range e.Selectors {
		selectors = append(selectors, s.Type+":"+s.Value)
		if s.Type != "k8s" {
			continue
		}
		if ns, ok := strings.CutPrefix(s.Value, "ns:"); ok {
			d.Namespace = ns
		}
		if sa, ok := strings.CutPrefix(s.Value, "sa:"); ok {
			d.Name = sa
		}
	}
	slices.Sort(selectors)
	if joined := strings.Join(slices.Compact(selectors), " "); len(joined) <= maxNote {
		note("spire/selectors", joined)
	} else {
		note("spire/selectors", fmt.Sprintf("%d selectors", len(selectors)))
	}
	return d, "", nil
}

// maxNote bounds what is noted of entries, in bytes.
const maxNote = 1024

// spiffeID reads {"trust_domain": …, "path": …}, or the URI in one string.
func spiffeID(raw json.RawMessage) (event.Identity, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return event.Identity{}, errors.New("is missing")
	}
	if raw[0] == '"' {
		uri, err := text(raw)
		if err != nil {
			return event.Identity{}, err
		}
		return spireIdentity(uri)
	}
	fields, err := object(raw)
	if err != nil {
		return event.Identity{}, err
	}
	domain, err := text(fields["trust_domain"])
	if err != nil || domain == "" {
		return event.Identity{}, errors.New("has no trust_domain")
	}
	path, err := text(fields["path"])
	if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(domain, "/:@") {
		return event.Identity{}, errors.New("has no path that begins with /, or a trust_domain that is none")
	}
	return spireIdentity("spiffe://" + domain + path)
}

func spireIdentity(uri string) (event.Identity, error) {
	if !strings.HasPrefix(uri, "spiffe://") {
		return event.Identity{}, fmt.Errorf("%q is no SPIFFE ID", shorten(uri))
	}
	return parseIdentity(uri)
}

// joinEntries makes one declaration of several entries of an identity, in any order: that is how SPIRE gives one identity to several
// workloads. It lives as long as the longest of them, and may what any of them may.
func joinEntries(a, b *event.Declaration) bool {
	if a.Namespace != b.Namespace || a.Name != b.Name {
		a.Namespace, a.Name = "", "" // of several service accounts
		a.Labels = map[string]string{"spire/several": "true"}
	}
	if a.Labels != nil || b.Labels != nil {
		a.Namespace, a.Name, a.Labels = "", "", map[string]string{"spire/several": "true"}
	}
	if b.Privilege.Rank() > a.Privilege.Rank() {
		a.Privilege = b.Privilege
	}
	a.PrivilegeReasons = append(slices.Clone(a.PrivilegeReasons), b.PrivilegeReasons...)
	if a.Created.IsZero() || !b.Created.IsZero() && b.Created.Before(a.Created) {
		a.Created = b.Created
	}
	if a.Expires.IsZero() || b.Expires.IsZero() {
		a.Expires = time.Time{}
	} else if b.Expires.After(a.Expires) {
		a.Expires = b.Expires
	}
	notes := maps.Clone(a.Annotations)
	for key, value := range b.Annotations {
		notes[key] = joinNote(notes[key], value)
	}
	a.Annotations = notes
	normalize(a)
	return true
}

const (
	noteSeparator = " | "
	tooManyNotes  = "many"
)

// joinNote is a sorted set; one that grows too long is only "many", whatever comes first.
func joinNote(a, b string) string {
	if a == "" || a == b {
		return b
	}
	if a == tooManyNotes || b == tooManyNotes {
		return tooManyNotes
	}
	parts := append(strings.Split(a, noteSeparator), strings.Split(b, noteSeparator)...)
	slices.Sort(parts)
	if joined := strings.Join(slices.Compact(parts), noteSeparator); len(joined) <= maxNote {
		return joined
	}
	return tooManyNotes
}
