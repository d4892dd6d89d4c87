package decision

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Errors of decisions that are not issued, for those who answer. Each comes with what is wrong, in one line.
var (
	ErrInvalid  = errors.New("invalid")              // what is asked for makes no sense
	ErrRail     = errors.New("refused")              // a rail forbids it
	ErrPreview  = errors.New("preview is missing")   // enforcing needs it
	ErrConflict = errors.New("conflict")             // it is not in the state for that
	ErrNotFound = errors.New("not found")            //
	ErrNoKey    = errors.New("no key")               // this collector cannot sign
	ErrStopped  = errors.New("starting or stopping") //
)

// Request is what somebody asks to be denied.
type Request struct {
	Identity  string          `json:"identity"`
	Glob      bool            `json:"glob,omitempty"` // Identity is a pattern
	To        string          `json:"to"`             // see event.ParseTarget
	Direction event.Direction `json:"direction"`      // empty: outbound
	Mode      event.Mode      `json:"mode"`           // empty: dry-run
	For       Span            `json:"for"`
	Code      string          `json:"code,omitempty"`
	Reason    string          `json:"reason"`
	Finding   string          `json:"finding,omitempty"`
	Approve   bool            `json:"approve,omitempty"` // wait for another person, also where the settings do not ask for one
}

// Span is a duration that is written as 90m or 24h.
type Span time.Duration

// MarshalText implements [encoding.TextMarshaler].
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %.40q is not like 90m or 24h", text)
	}
	*s = Span(d)
	return nil
}

// decision is what a request comes to, unsigned.
func (r *Request) decision(id, requester string, now time.Time) *event.Decision {
	d := &event.Decision{
		ID: id, Serial: 1, Identity: r.Identity, Glob: r.Glob, To: r.To, Direction: r.Direction, Mode: r.Mode, Code: r.Code, Reason: r.Reason,
		Requester: requester, Finding: r.Finding, Issued: now, Expires: now.Add(time.Duration(r.For)),
	}
	return d
}

// check completes a request, and says what is wrong with it.
func (s *Service) check(r *Request, now time.Time) (*event.Decision, error) {
	if r.Direction == "" {
		r.Direction = event.Outbound
	}
	if r.Mode == "" {
		r.Mode = event.DryRun
	}
	if r.For <= 0 {
		return nil, fmt.Errorf("%w: for: say for how long, as in 1h: every decision ends by itself", ErrInvalid)
	}
	if time.Duration(r.For) > s.cfg.MaxLife {
		return nil, fmt.Errorf("%w: for: %s is longer than the %s that deny.max_life allows", ErrInvalid, time.Duration(r.For), s.cfg.MaxLife)
	}
	d := r.decision("check", "somebody", now)
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	t, err := event.ParseTarget(r.To)
	if err != nil {
		return nil, fmt.Errorf("%w: to: %w", ErrInvalid, err)
	}
	r.To = t.String()
	d.To = r.To
	return d, s.rails(d, t)
}

// loopback is what no decision may be toward.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// rails says which rail forbids a decision, whoever asks for it.
func (s *Service) rails(d *event.Decision, t event.Target) error {
	for _, pattern := range s.cfg.Protected {
		if meet(d.Identity, d.Glob, pattern) {
			return fmt.Errorf("%w: %s is protected by %q in deny.protected", ErrRail, d.Identity, pattern)
		}
	}
	if t.Kind == event.TargetNet {
		for _, p := range loopback {
			if within(p, t.Prefix) {
				return fmt.Errorf("%w: %s is loopback, which is never denied", ErrRail, d.To)
			}
		}
	}
	if t.Kind == event.TargetDNS && (t.Name == "localhost" || strings.HasSuffix(t.Name, ".localhost")) {
		return fmt.Errorf("%w: %s is loopback, which is never denied", ErrRail, d.To)
	}
	for _, f := range s.floor {
		if covers(f, t) {
			return fmt.Errorf("%w: %s is in the floor (%s in deny.floor), which is never denied", ErrRail, d.To, f)
		}
	}
	return nil
}

// meet says whether a decision may name an identity that a pattern protects. Two patterns meet if some text fits both.
func meet(identity string, glob bool, pattern string) bool {
	if !glob {
		return event.Fits(pattern, identity)
	}
	return overlap(identity, pattern)
}

// overlap says whether some text fits both of two patterns. It takes time of the product of their lengths.
func overlap(a, b string) bool {
	// row[j]: some text fits both a[:i] and b[:j].
	row := make([]bool, len(b)+1)
	row[0] = true
	for j := range len(b) {
		row[j+1] = row[j] && b[j] == '*'
	}
	for i := range len(a) {
		before := row[0] // a[:i] and b[:j]
		row[0] = row[0] && a[i] == '*'
		for j := range len(b) {
			above := row[j+1]
			if a[i] == '*' || b[j] == '*' { // a star stands for nothing, or for what the other has
				row[j+1] = above || row[j]
			} else {
				row[j+1] = before && a[i] == b[j]
			}
			before = above
		}
	}
	return row[len(b)]
}

// within says whether a range holds another.
func within(outer, inner netip.Prefix) bool {
	return outer.Addr().BitLen() == inner.Addr().BitLen() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// covers says whether all that a target names is in the floor. What names more, such as *, is left to the nodes, which let the floor through.
func covers(floor, t event.Target) bool {
	if floor.Port != 0 && floor.Port != t.Port || floor.Protocol != "" && floor.Protocol != t.Protocol {
		return false
	}
	switch {
	case floor.Kind == event.TargetPort:
		return true
	case floor.Kind != t.Kind:
		return false
	case floor.Kind == event.TargetNet:
		return within(floor.Prefix, t.Prefix)
	}
	return floor.Identity == t.Identity && floor.Name == t.Name
}
