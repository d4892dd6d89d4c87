package feed

import (
	"cmp"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Kind says what a record is about.
type Kind string

// The kinds of records. A feed sends findings unless its configuration says otherwise.
const (
	KindFinding     Kind = "findings"
	KindObservation Kind = "observations"
	KindDecision    Kind = "decisions"
)

var kinds = []Kind{KindFinding, KindObservation, KindDecision}

// Life says where in its life a finding is, as this feed has told it.
type Life string

// A finding is created once, updated any number of times, and closed. One that goes on after that is updated: its uid stays.
const (
	Create Life = "create"
	Update Life = "update"
	Close  Life = "close"
)

// Record is one thing to tell. Exactly one of Finding, Observation and Decision is set.
type Record struct {
	Finding     *event.Finding
	Observation *event.Observation
	Decision    *event.Decision
	Life        Life      // of a finding or decision
	Time        time.Time // when it came into the stream
	UID         string    // stable: a repetition has the same one
	Owner       string    // of the identity, as the inventory has it; may be empty
	Test        bool      // sent by request, to try the feed
}

// identity is who the record is about; the zero identity for a summary.
func (r *Record) identity() event.Identity {
	switch {
	case r.Finding != nil:
		return r.Finding.Identity
	case r.Observation != nil:
		return r.Observation.Workload.Identity
	}
	id, _ := event.ParseIdentity(r.Decision.Identity) // a pattern is nobody's
	return id
}

// subject is who or what the record is about, in one text.
func (r *Record) subject() string {
	if r.Decision != nil {
		return r.Decision.Identity
	}
	return r.identity().String()
}

func (r *Record) severity() event.Severity {
	if r.Finding != nil {
		return r.Finding.Severity
	}
	if r.Decision != nil && r.Decision.Mode == event.Enforce {
		return event.Medium
	}
	return event.Info
}

// at is when what the record tells happened last.
func (r *Record) at() time.Time {
	var t time.Time
	switch {
	case r.Finding != nil:
		t = r.Finding.LastTime
		if r.Finding.Decided.After(t) {
			t = r.Finding.Decided
		}
	case r.Observation != nil:
		t = r.Observation.Time
	case r.Decision != nil:
		t = r.Decision.Issued
		if !r.Decision.Revoked.IsZero() {
			t = r.Decision.Revoked
		} else if r.Life == Close {
			t = r.Decision.Expires
		}
	}
	if t.IsZero() {
		t = r.Time
	}
	return t.UTC()
}

// rule is what made the record, as one word.
func (r *Record) rule() string {
	switch {
	case r.Finding != nil:
		return r.Finding.Rule
	case r.Decision != nil:
		return "decision"
	}
	return "observation"
}

// title is one line for people.
func (r *Record) title() string {
	switch {
	case r.Finding != nil:
		return cmp.Or(r.Finding.Title, r.Finding.Rule)
	case r.Observation != nil:
		return r.Observation.Workload.Identity.String() + " " + reaches(r.Observation.Direction) + " " + event.ResourceOf(r.Observation).String()
	}
	d := r.Decision
	verb := "Deny"
	switch {
	case r.Life == Close && !d.Revoked.IsZero():
		verb = "Revoked: deny"
	case r.Life == Close:
		verb = "Expired: deny"
	case d.Mode == event.DryRun:
		verb = "Dry run: deny"
	}
	return verb + " " + d.Identity + " to " + d.To
}

func reaches(d event.Direction) string {
	if d == event.Inbound {
		return "is reached on"
	}
	return "reaches"
}

// Document is a record in the format of a feed.
type Document struct {
	*Record
	Body []byte
}
