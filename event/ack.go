package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AckState is what a node did about a decision.
type AckState string

// The states, in the order in which a node comes to them.
const (
	AckReceived   AckState = "received"    // it came and is believed
	AckInForce    AckState = "in-force"    // the kernel refuses, or counts if it is a dry run
	AckFailed     AckState = "failed"      // it could not be put into force; why says so
	AckRefused    AckState = "refused"     // it is not believed, or a rail forbids it; why says so
	AckNotCovered AckState = "not-covered" // this node denies nothing: too old, turned off, break-glass
	AckEnded      AckState = "ended"       // it expired or was revoked, and nothing is left of it in the kernel
)

// AckStates are all of them.
var AckStates = []AckState{AckReceived, AckInForce, AckFailed, AckRefused, AckNotCovered, AckEnded}

// Ack is what a node tells of a decision: at once when its state changes, and now and then while counts do. Counts are since the decision came into force
// there.
type Ack struct {
	Decision    string    `json:"decision"`
	Serial      uint64    `json:"serial"` // of the form of the decision that it answers
	Node        string    `json:"node"`
	Boot        string    `json:"boot,omitempty"` // one start of its agent
	State       AckState  `json:"state"`
	Why         string    `json:"why,omitempty"`
	At          time.Time `json:"at"`     // when it came to this state
	Told        time.Time `json:"told"`   // when this was written; never before At
	Denied      uint64    `json:"denied"` // connections that were refused
	WouldDeny   uint64    `json:"would_deny"`
	FirstDenied time.Time `json:"first_denied,omitzero"` // refused, or in a dry run would have been
	LastDenied  time.Time `json:"last_denied,omitzero"`
	LastAllowed time.Time `json:"last_allowed,omitzero"` // last connection that the decision names and that went through, or was cut later
	Cut         uint64    `json:"cut"`                   // established connections that were cut
	Entries     int       `json:"entries"`               // in the kernel's maps
}

// maxAck bounds an acknowledgement as JSON, in bytes.
const maxAck = 8 << 10

// Encode makes the message. Why is cut where it is too long.
func (a *Ack) Encode() ([]byte, error) {
	b := *a
	b.Why = sentence(a.Why)
	if err := b.validate(); err != nil {
		return nil, fmt.Errorf("encode acknowledgement: %w", err)
	}
	data, err := json.Marshal(&b)
	if err != nil {
		return nil, fmt.Errorf("encode acknowledgement: %w", err)
	}
	return data, nil
}

// DecodeAck reads an acknowledgement that came from outside. Its errors are [ErrTooLarge] or [ErrMalformed]. Fields that are not known are passed over: agents may be newer.
func DecodeAck(data []byte) (*Ack, error) {
	if len(data) > maxAck {
		return nil, fmt.Errorf("decode acknowledgement: %w: %d bytes", ErrTooLarge, len(data))
	}
	var a Ack
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&a); err != nil {
		return nil, fmt.Errorf("decode acknowledgement: %w: %w", ErrMalformed, err)
	}
	if err := a.validate(); err != nil {
		return nil, fmt.Errorf("decode acknowledgement: %w: %w", ErrMalformed, err)
	}
	return &a, nil
}

func (a *Ack) validate() error {
	if !ValidDecisionID(a.Decision) {
		return fmt.Errorf("decision %q is no valid ID", short(a.Decision))
	}
	if !slices.Contains(AckStates, a.State) {
		return fmt.Errorf("state %q is not one of %s", short(string(a.State)), words(AckStates))
	}
	if a.Node == "" || len(a.Node) > maxNode || len(a.Boot) > maxBoot || len(a.Why) > maxWords || checkDeclared(a.Node+a.Boot) != nil {
		return fmt.Errorf("node, boot or why is missing or too long")
	}
	if strings.ContainsRune(a.Why, 0) {
		return fmt.Errorf("why holds a zero byte")
	}
	if max(a.Denied, a.WouldDeny, a.Cut) > maxCount || a.Entries < 0 || a.Entries > maxCount {
		return fmt.Errorf("a count is above %d", uint64(maxCount))
	}
	for _, t := range []time.Time{a.At, a.Told, a.FirstDenied, a.LastDenied, a.LastAllowed} {
		if y := t.UTC().Year(); !t.IsZero() && (y < 1971 || y > 2261) {
			return fmt.Errorf("a time is not from 1971 to 2261")
		}
	}
	if a.At.IsZero() || a.Told.IsZero() {
		return fmt.Errorf("at or told is missing")
	}
	return nil
}
