package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Mode is what a decision does on the nodes.
type Mode string

// The modes.
const (
	DryRun  Mode = "dry-run" // nothing is refused, and what would have been is counted
	Enforce Mode = "enforce"
)

// Both is the direction of a decision that is about connections whoever opens them.
const Both Direction = "both"

// MaxDecisionLife is how long a decision may hold unless the configuration says otherwise.
const MaxDecisionLife = 24 * time.Hour

// maxClockSkew is how far the clock of who signs may be ahead of that of who checks.
const maxClockSkew = time.Minute

// MaxDecisionBytes bounds a decision as JSON.
const MaxDecisionBytes = 16 << 10

// Decision says that an identity may not reach a resource until a time, for a reason. It counts only with the signature of a key that is
// trusted: see [Decision.Sign] and [Decision.Verify]. JSON is for people; the signature is over the canonical form, [Decision.Canonical].
type Decision struct {
	ID         string    `json:"id"`
	Serial     uint64    `json:"serial"`                // grows with each signature of an issuer, so that an older form of a decision is known for a replay
	Identity   string    `json:"identity"`              // exact, or a pattern with * for anything if Glob is set
	Glob       bool      `json:"glob,omitempty"`        //
	To         string    `json:"to"`                    // see [ParseTarget]
	Direction  Direction `json:"direction"`             // outbound, inbound, both
	Mode       Mode      `json:"mode"`                  //
	Code       string    `json:"code,omitempty"`        // reason for programs, such as compromised
	Reason     string    `json:"reason"`                // reason for people
	Requester  string    `json:"requester"`             // a principal of the API, or a rule
	Approver   string    `json:"approver,omitempty"`    // somebody else, where two are needed
	Finding    string    `json:"finding,omitempty"`     // ID of what it answers
	Automatic  bool      `json:"automatic,omitempty"`   // nobody asked: a rule did
	Issued     time.Time `json:"issued"`                //
	Expires    time.Time `json:"expires"`               //
	Revoked    time.Time `json:"revoked,omitzero"`      // zero: it was not
	RevokedBy  string    `json:"revoked_by,omitempty"`  //
	RevokedWhy string    `json:"revoked_why,omitempty"` //
	Key        string    `json:"key,omitempty"`         // public part of the signing key, an account nkey
	Signature  []byte    `json:"signature,omitempty"`   // ed25519
}

// Bounds of a decision's texts, in bytes.
const (
	maxDecisionID     = 64
	maxDecisionText   = 1024
	maxDecisionName   = 256
	maxDecisionTarget = maxIdentity + 16
)

// Validate says what is wrong with a decision, in one line that begins with the name of the field. It does not look at the signature, nor at the clock.
func (d *Decision) Validate() error {
	if !ValidDecisionID(d.ID) {
		return fmt.Errorf("id: %q is not 1 to %d letters, digits, - and _", short(d.ID), maxDecisionID)
	}
	if err := checkNamed(d.Identity, d.Glob); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if _, err := ParseTarget(d.To); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	if d.Direction != Outbound && d.Direction != Inbound && d.Direction != Both {
		return fmt.Errorf("direction: %q is not outbound, inbound or both", short(string(d.Direction)))
	}
	if d.Mode != DryRun && d.Mode != Enforce {
		return fmt.Errorf("mode: %q is not dry-run or enforce", short(string(d.Mode)))
	}
	if d.Serial == 0 {
		return errors.New("serial: is missing")
	}
	for _, field := range []struct {
		name, text string
		max        int
		needed     bool
	}{
		{"code", d.Code, maxDecisionID, false}, {"reason", d.Reason, maxDecisionText, true}, {"requester", d.Requester, maxDecisionName, true},
		{"approver", d.Approver, maxDecisionName, false}, {"finding", d.Finding, maxDecisionName, false},
		{"revoked_by", d.RevokedBy, maxDecisionName, !d.Revoked.IsZero()}, {"revoked_why", d.RevokedWhy, maxDecisionText, !d.Revoked.IsZero()},
	} {
		if field.needed && strings.TrimSpace(field.text) == "" {
			return fmt.Errorf("%s: is missing", field.name)
		}
		if len(field.text) > field.max {
			return fmt.Errorf("%s: is %d bytes long, at most %d are kept", field.name, len(field.text), field.max)
		}
		if err := checkDeclared(field.text); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
	}
	if d.Approver != "" && d.Approver == d.Requester {
		return errors.New("approver: is the requester; another person approves")
	}
	for _, field := range []struct {
		name   string
		time   time.Time
		needed bool
	}{{"issued", d.Issued, true}, {"expires", d.Expires, true}, {"revoked", d.Revoked, false}} {
		if field.time.IsZero() && !field.needed {
			continue
		}
		if y := field.time.UTC().Year(); y < 1971 || y > 2261 { // what 64 bits of nanoseconds hold
			return fmt.Errorf("%s: is missing, or not from 1971 to 2261", field.name)
		}
	}
	if !d.Expires.After(d.Issued) {
		return errors.New("expires: is not after issued")
	}
	if !d.Revoked.IsZero() && d.Revoked.Before(d.Issued) {
		return errors.New("revoked: is before issued")
	}
	return nil
}

// ValidDecisionID says whether a text may be the ID of a decision. It is a key of a bucket and a token of a subject.
func ValidDecisionID(id string) bool {
	return id != "" && len(id) <= maxDecisionID && !strings.ContainsFunc(id, func(r rune) bool { return r > utf8.RuneSelf || !pathByte(byte(r)) || r == '.' })
}

// checkNamed wants an identity, or a pattern that names a scheme: one of * alone would name everybody.
func checkNamed(identity string, glob bool) error {
	switch {
	case len(identity) > maxIdentity:
		return fmt.Errorf("is longer than %d bytes", maxIdentity)
	case !glob && strings.Contains(identity, "*"):
		return fmt.Errorf("%q is a pattern; say so with glob", short(identity))
	case !glob:
		_, err := ParseIdentity(identity)
		return err
	}
	rest, ok := strings.CutPrefix(identity, "spiffe://")
	if !ok {
		rest, ok = strings.CutPrefix(identity, "x509://")
	}
	domain, path, slash := strings.Cut(rest, "/")
	if !ok || !slash || domain == "" || strings.Contains(domain, "*") || path == "" || checkDeclared(path) != nil || strings.ContainsAny(path, " ?#") {
		return fmt.Errorf("pattern %q is not like spiffe://shop.example/ns/shop/*: it names one trust domain", short(identity))
	}
	return nil
}

// Names says whether the decision is about an identity. It does not look at mode, time or signature.
func (d *Decision) Names(id Identity) bool {
	if d.Glob {
		return Fits(d.Identity, id.uri)
	}
	return d.Identity != "" && d.Identity == id.uri
}

// Holds says whether the decision is in its time and was not revoked.
func (d *Decision) Holds(now time.Time) bool {
	return d.Revoked.IsZero() && now.Before(d.Expires) && !now.Add(maxClockSkew).Before(d.Issued)
}

// Clone is a copy that shares nothing.
func (d *Decision) Clone() *Decision {
	c := *d
	c.Signature = slices.Clone(d.Signature)
	return &c
}

// Fits matches a text against a pattern in which * stands for anything, also for nothing and for /. It takes time linear in the text for each *.
func Fits(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], more
	}
}
