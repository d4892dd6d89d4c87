package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Record is one thing that was done.
type Record struct {
	Number   uint64            `json:"number"`             // from 1, without a hole
	Time     time.Time         `json:"time"`               // UTC, in microseconds
	Actor    string            `json:"actor"`              // who
	Action   string            `json:"action"`             // what: <kind>.<verb>
	Subject  string            `json:"subject"`            // to what
	Detail   map[string]string `json:"detail,omitempty"`   // with what
	Previous string            `json:"previous,omitempty"` // hash of the record before; empty at the first one
	Hash     string            `json:"hash"`               // SHA-256 of all of the above, in hex
}

// Failed is the key of the detail that says why something was not done although it was begun.
const Failed = "failed"

// Bounds of a record.
const (
	maxText   = 4096 // bytes of each text
	maxDetail = 32   // keys
)

// action is what an action looks like, since a subject of NATS is made of it.
var action = regexp.MustCompile(`^[a-z][a-z-]{0,31}\.[a-z][a-z-]{0,31}$`)

// newRecord follows a record, or is the first one. What is too long is cut, and said to be.
func newRecord(before *Record, at time.Time, actor, what, subject string, detail map[string]string) (Record, error) {
	if !action.MatchString(what) {
		return Record{}, fmt.Errorf("action %q is not <kind>.<verb>", cut(what))
	}
	if actor == "" {
		return Record{}, errors.New("actor is missing")
	}
	if len(detail) > maxDetail {
		return Record{}, fmt.Errorf("there are %d details, at most %d are kept", len(detail), maxDetail)
	}
	r := Record{Number: 1, Time: at.UTC().Truncate(time.Microsecond), Actor: cut(actor), Action: what, Subject: cut(subject)}
	for _, key := range slices.Sorted(maps.Keys(detail)) {
		if r.Detail == nil {
			r.Detail = map[string]string{}
		}
		r.Detail[cut(key)] = cut(detail[key])
	}
	if before != nil {
		r.Number, r.Previous = before.Number+1, before.Hash
	}
	r.Hash = r.sum()
	return r, nil
}

func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// hashed is what the hash is of, as an array in the deterministic encoding of RFC 8949 section 4.2. Its fields are a promise.
type hashed struct {
	_        struct{} `cbor:",toarray"`
	Number   uint64
	Micros   int64
	Actor    string
	Action   string
	Subject  string
	Detail   map[string]string
	Previous string
}

var encoding = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}()

func (r *Record) sum() string {
	detail := r.Detail
	if detail == nil {
		detail = map[string]string{}
	}
	data, err := encoding.Marshal(hashed{Number: r.Number, Micros: r.Time.UnixMicro(), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Detail: detail, Previous: r.Previous})
	if err != nil {
		panic(err) // numbers and texts
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Broken says at which record a chain does not fit.
type Broken struct {
	Number uint64 // the first that does not fit, or the one that is missing
	Why    string
}

func (b *Broken) Error() string {
	return fmt.Sprintf("the audit trail does not fit at record %d: %s", b.Number, b.Why)
}

// Verify reads records in the order of their numbers, and gives [*Broken] at the first one that does not fit the ones before: one that is missing, was
// changed, or stands there twice. The chain must begin with record 1. An error of the sequence is given as it is.
func Verify(records iter.Seq2[Record, error]) error {
	next, previous := uint64(1), ""
	for r, err := range records {
		switch {
		case err != nil:
			return err
		case r.Number > next:
			return &Broken{next, fmt.Sprintf("it is missing; the next one is %d", r.Number)}
		case r.Number < next:
			return &Broken{r.Number, "there is more than one of this number"}
		case r.sum() != r.Hash:
			return &Broken{r.Number, "it was changed: its hash is another one's"}
		case r.Previous != previous:
			return &Broken{r.Number, "it does not follow the record before"}
		}
		next, previous = r.Number+1, r.Hash
	}
	return nil
}
