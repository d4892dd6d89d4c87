package event

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nkeys"
)

// Errors of decisions that must not be followed, for those who count refusals by cause.
var (
	ErrDecision   = errors.New("the decision is not valid")                                           // with what is wrong
	ErrUnsigned   = errors.New("the decision is not signed")                                          //
	ErrUnknownKey = errors.New("the decision is signed with a key that is not trusted")               // with the key
	ErrSignature  = errors.New("the signature does not fit: the decision was altered")                //
	ErrTooLong    = errors.New("the decision holds longer than is allowed")                           //
	ErrNotYet     = errors.New("the decision is from the future: the clocks differ, or it is forged") //
	ErrExpired    = errors.New("the decision has expired")                                            //
	ErrReplayed   = errors.New("a later form of this decision is known: this one is a replay")        //
	ErrCrowded    = errors.New("more decisions hold than are remembered")                             //
)

// canonicalKind is in what is signed, so that a signature of another kind of document never fits a decision.
const canonicalKind = "ambit.decision.v1"

// canonicalDecision is what is signed. Its numbers never change meaning; a new field gets a new number and is left out when it is empty, and then
// old agents refuse what has it, since they would not check it.
type canonicalDecision struct {
	Kind       string `cbor:"0,keyasint"`
	ID         string `cbor:"1,keyasint"`
	Serial     uint64 `cbor:"2,keyasint"`
	Identity   string `cbor:"3,keyasint"`
	Glob       bool   `cbor:"4,keyasint"`
	To         string `cbor:"5,keyasint"`
	Direction  string `cbor:"6,keyasint"`
	Mode       string `cbor:"7,keyasint"`
	Code       string `cbor:"8,keyasint"`
	Reason     string `cbor:"9,keyasint"`
	Requester  string `cbor:"10,keyasint"`
	Approver   string `cbor:"11,keyasint"`
	Finding    string `cbor:"12,keyasint"`
	Automatic  bool   `cbor:"13,keyasint"`
	Issued     int64  `cbor:"14,keyasint"` // Unix time in nanoseconds, as the two below; 0 is none
	Expires    int64  `cbor:"15,keyasint"`
	Revoked    int64  `cbor:"16,keyasint"`
	RevokedBy  string `cbor:"17,keyasint"`
	RevokedWhy string `cbor:"18,keyasint"`
	Key        string `cbor:"19,keyasint"`
}

// Canonical is the decision as it is signed: deterministic CBOR (RFC 8949, section 4.2) of all fields but the signature.
func (d *Decision) Canonical() ([]byte, error) {
	data, err := canonical().Marshal(&canonicalDecision{
		Kind: canonicalKind, ID: d.ID, Serial: d.Serial, Identity: d.Identity, Glob: d.Glob, To: d.To, Direction: string(d.Direction), Mode: string(d.Mode),
		Code: d.Code, Reason: d.Reason, Requester: d.Requester, Approver: d.Approver, Finding: d.Finding, Automatic: d.Automatic,
		Issued: nanos(d.Issued), Expires: nanos(d.Expires), Revoked: nanos(d.Revoked), RevokedBy: d.RevokedBy, RevokedWhy: d.RevokedWhy, Key: d.Key,
	})
	if err != nil {
		return nil, fmt.Errorf("encode decision: %w", err)
	}
	return data, nil
}

func canonical() cbor.EncMode { return theCodec().encode }

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Sign checks a decision, and sets its key and signature. The key is an account nkey.
func (d *Decision) Sign(key nkeys.KeyPair) error {
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("read the signing key: %w", err)
	}
	if !nkeys.IsValidPublicAccountKey(public) {
		return fmt.Errorf("sign decision %s: the key %s… is no account nkey; make one with `ambit decisions key`", d.ID, public[:8])
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("sign decision %s: %w", short(d.ID), err)
	}
	d.Key = public
	data, err := d.Canonical()
	if err != nil {
		return err
	}
	if d.Signature, err = key.Sign(data); err != nil {
		return fmt.Errorf("sign decision %s: %w", d.ID, err)
	}
	return nil
}

// Verify says why a decision must not be followed: one of the errors above, with what is wrong. Keys are the public ones that are trusted. A decision that was revoked is a
// valid one, which says that it does not hold any more. That a later form of it is known, [Verifier] finds.
func (d *Decision) Verify(keys []string, now time.Time, maxLife time.Duration) error {
	if len(d.Signature) == 0 || d.Key == "" {
		return ErrUnsigned
	}
	if !slices.Contains(keys, d.Key) {
		return fmt.Errorf("%w: %s", ErrUnknownKey, short(d.Key))
	}
	public, err := nkeys.FromPublicKey(d.Key)
	if err != nil || !nkeys.IsValidPublicAccountKey(d.Key) {
		return fmt.Errorf("%w: %s is no account nkey", ErrUnknownKey, short(d.Key))
	}
	// First what was signed, then what it says: what somebody else made up is not looked at.
	data, err := d.Canonical()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDecision, err)
	}
	if public.Verify(data, d.Signature) != nil {
		return ErrSignature
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrDecision, err)
	}
	switch {
	case d.Issued.After(now.Add(maxClockSkew)):
		return fmt.Errorf("%w: issued %s, and it is %s", ErrNotYet, d.Issued.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case d.Expires.Sub(d.Issued) > maxLife:
		return fmt.Errorf("%w: %s, and at most %s are", ErrTooLong, d.Expires.Sub(d.Issued), maxLife)
	case !now.Before(d.Expires):
		return fmt.Errorf("%w: %s", ErrExpired, d.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}
