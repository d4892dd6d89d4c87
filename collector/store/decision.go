package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

type decisionRow struct {
	ID         string    `ch:"id"`
	Serial     uint64    `ch:"serial"`
	Identity   string    `ch:"identity"`
	Glob       bool      `ch:"glob"`
	Target     string    `ch:"target"`
	Direction  string    `ch:"direction"`
	Mode       string    `ch:"mode"`
	Code       string    `ch:"code"`
	Reason     string    `ch:"reason"`
	Requester  string    `ch:"requester"`
	Approver   string    `ch:"approver"`
	Finding    string    `ch:"finding"`
	Automatic  bool      `ch:"automatic"`
	Issued     time.Time `ch:"issued"`
	Expires    time.Time `ch:"expires"`
	Revoked    time.Time `ch:"revoked"`
	RevokedBy  string    `ch:"revoked_by"`
	RevokedWhy string    `ch:"revoked_why"`
	Key        string    `ch:"key"`
	Signature  string    `ch:"signature"` // in hex
}

func (r *decisionRow) decision() (event.Decision, error) {
	signature, err := hex.DecodeString(r.Signature)
	if err != nil {
		return event.Decision{}, fmt.Errorf("decision %s: read the signature: %w", r.ID, err)
	}
	return event.Decision{
		ID: r.ID, Serial: r.Serial, Identity: r.Identity, Glob: r.Glob, To: r.Target, Direction: event.Direction(r.Direction), Mode: event.Mode(r.Mode),
		Code: r.Code, Reason: r.Reason, Requester: r.Requester, Approver: r.Approver, Finding: r.Finding, Automatic: r.Automatic,
		Issued: r.Issued.UTC(), Expires: r.Expires.UTC(), Revoked: moment(r.Revoked), RevokedBy: r.RevokedBy, RevokedWhy: r.RevokedWhy,
		Key: r.Key, Signature: signature,
	}, nil
}

// InsertDecisions keeps decisions as they were signed. Repeating it changes nothing, and of two forms of a decision the later one counts, in whatever order they come.
func (s *Store) InsertDecisions(ctx context.Context, decisions []event.Decision) error {
	rows := make([]decisionRow, len(decisions))
	for i := range decisions {
		d := &decisions[i]
		if err := d.Validate(); err != nil {
			return fmt.Errorf("insert decisions: row %d: %w: %w", i, ErrRefused, err)
		}
		revoked := d.Revoked
		if revoked.IsZero() {
			revoked = time.Unix(0, 0)
		}
		rows[i] = decisionRow{
			ID: d.ID, Serial: d.Serial, Identity: d.Identity, Glob: d.Glob, Target: d.To, Direction: string(d.Direction), Mode: string(d.Mode),
			Code: d.Code, Reason: d.Reason, Requester: d.Requester, Approver: d.Approver, Finding: d.Finding, Automatic: d.Automatic,
			Issued: d.Issued, Expires: d.Expires, Revoked: revoked, RevokedBy: d.RevokedBy, RevokedWhy: d.RevokedWhy,
			Key: d.Key, Signature: hex.EncodeToString(d.Signature),
		}
	}
	return insert(ctx, s, "decisions", repeatable(), rows)
}

// DecisionFilter chooses decisions, which come the latest first.
type DecisionFilter struct {
	ID       string
	Identity string // as it stands in the decision
	Finding  string
	Mode     event.Mode
	State    string    // in-force, revoked, expired
	Now      time.Time // as of when
	Limit    int       // 0 is 100, at most 1000
	Cursor   string    // where the page before ended
}

// Decisions gives a page of decisions, and the cursor of the next page or "".
func (s *Store) Decisions(ctx context.Context, f DecisionFilter) ([]event.Decision, string, error) {
	before, err := parseCursor(f.Cursor, 2)
	if err != nil {
		return nil, "", fmt.Errorf("read decisions: %w", err)
	}
	var micros int64
	if before[0] != "" {
		if micros, err = strconv.ParseInt(before[0], 10, 64); err != nil {
			return nil, "", fmt.Errorf("read decisions: %w", ErrCursor)
		}
	}
	limit := bound(f.Limit, 100, 1000)
	args := named("id", f.ID, "identity", f.Identity, "finding", f.Finding, "mode", string(f.Mode), "state", f.State, "now", f.Now.UnixMicro(),
		"before", micros, "before_id", before[1], "limit", uint32(limit+1))
	var rows []decisionRow
	err = each(ctx, s, "read decisions", decisionsSQL, args, func(r *decisionRow) error {
		rows = append(rows, *r)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	rows, next := page(rows, limit, func(r *decisionRow) string { return cursor(strconv.FormatInt(r.Issued.UnixMicro(), 10), r.ID) })
	out := make([]event.Decision, 0, len(rows))
	for i := range rows {
		d, err := rows[i].decision()
		if err != nil {
			s.corrupt["decisions"].Add(1)
			continue
		}
		out = append(out, d)
	}
	return out, next, nil
}

// Preview is what a decision would have refused, of one workload toward one resource.
type Preview struct {
	Identity    event.Identity  `json:"identity"`
	Direction   event.Direction `json:"direction"`
	Resource    string          `json:"resource"`
	Namespace   string          `json:"namespace,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Unit        string          `json:"unit,omitempty"`
	Container   string          `json:"container,omitempty"`
	Executable  string          `json:"executable,omitempty"`
	Connections uint64          `json:"connections"`
	LastTime    time.Time       `json:"last_time"`
	Nodes       []string        `json:"nodes"` // at most 8
	NodeCount   uint64          `json:"node_count"`
}

type previewRow struct {
	Identity    string    `ch:"identity"`
	Direction   string    `ch:"way"`
	Resource    string    `ch:"resource"`
	Namespace   string    `ch:"namespace"`
	Owner       string    `ch:"owner"`
	Unit        string    `ch:"unit"`
	Container   string    `ch:"container"`
	Executable  string    `ch:"executable"`
	Connections uint64    `ch:"connections"`
	LastTime    time.Time `ch:"last_time"`
	Nodes       []string  `ch:"nodes"`
	NodeCount   uint64    `ch:"node_count"`
}

// PreviewDecision gives what a decision would have refused since a time, the most connections first, at most so many workloads and resources.
func (s *Store) PreviewDecision(ctx context.Context, d *event.Decision, since time.Time, limit int) ([]Preview, error) {
	target, err := event.ParseTarget(d.To)
	if err != nil {
		return nil, fmt.Errorf("preview a decision: %w", err)
	}
	name, low, high, v4 := target.Name, "::", "::", uint8(0)
	switch target.Kind {
	case event.TargetIdentity:
		name = target.Identity.String()
	case event.TargetNet:
		first, last := ends(target.Prefix)
		low, high = first.String(), last.String()
		if target.Prefix.Addr().Is4() {
			v4 = 1
		}
	}
	args := named("pattern", like(d.Identity, d.Glob), "since", max(since.UnixMicro(), 0), "direction", string(d.Direction), "protocol", string(target.Protocol),
		"port", target.Port, "kind", string(target.Kind), "name", name, "low", low, "high", high, "v4", v4, "limit", uint32(limit))
	var out []Preview
	err = each(ctx, s, "preview a decision", previewSQL, args, func(r *previewRow) error {
		id, err := event.ParseIdentity(r.Identity)
		if err != nil {
			s.corrupt["observations"].Add(1)
			return nil
		}
		out = append(out, Preview{id, event.Direction(r.Direction), r.Resource, r.Namespace, r.Owner, r.Unit, r.Container, r.Executable, r.Connections, r.LastTime.UTC(), r.Nodes, r.NodeCount})
		return nil
	})
	return out, err
}

// KnownIdentities gives identities that were seen or declared, and that a decision names, in their order and at most so many.
func (s *Store) KnownIdentities(ctx context.Context, identity string, glob bool, limit int) ([]event.Identity, error) {
	var out []event.Identity
	var text string
	err := s.scan(ctx, "read identities", identitiesLikeSQL, named("pattern", like(identity, glob), "limit", uint32(limit)), []any{&text}, func() error {
		id, err := event.ParseIdentity(text)
		if err != nil {
			s.corrupt["identities"].Add(1)
			return nil
		}
		out = append(out, id)
		return nil
	})
	return out, err
}

// like makes the pattern of a LIKE. One without stars fits just itself, by the primary key.
func like(identity string, glob bool) string {
	text := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(identity)
	if glob {
		text = strings.ReplaceAll(text, "*", "%")
	}
	return text
}
