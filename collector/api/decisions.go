package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Decisions issues decisions and says what became of them; [decision.Service] does. It writes the audit trail.
type Decisions interface {
	Preview(ctx context.Context, who string, r decision.Request) (*decision.Preview, error)
	Issue(ctx context.Context, who string, r decision.Request, preview string, yes bool) (decision.Asked, error)
	Approve(ctx context.Context, who, id string) (*event.Decision, error)
	Revoke(ctx context.Context, who, id, reason string) (*event.Decision, error)
	List(ctx context.Context, f store.DecisionFilter, state decision.State) ([]decision.View, string, error)
	Get(ctx context.Context, id string) (decision.View, error)
	Acks(ctx context.Context, id, after string, limit int) ([]store.NodeAck, error)
	Nodes(ctx context.Context) ([]decision.NodeCover, error)
	TimeToRevoke(ctx context.Context, window time.Duration) (store.RevokeTimes, error)
	Follow(ctx context.Context, tell func(decision.Change) error) error
	Evaluate(ctx context.Context, who string, id event.Identity, direction event.Direction, resource string, scopes decision.Scopes, more map[string]string) (decision.Answer, error)
}

// DecisionRoles says who may do what about decisions. Where one is not set, it is as the comment says.
type DecisionRoles struct {
	DryRun  Role // responder: ask for what refuses nothing
	Enforce Role // admin
	Approve Role // admin: sign what another asked for
	Revoke  Role // responder: end a decision
}

func (d DecisionRoles) dryRun() Role  { return cmp.Or(d.DryRun, Responder) }
func (d DecisionRoles) enforce() Role { return cmp.Or(d.Enforce, Admin) }
func (d DecisionRoles) approve() Role { return cmp.Or(d.Approve, Admin) }
func (d DecisionRoles) revoke() Role  { return cmp.Or(d.Revoke, Responder) }

// DecisionRequest is the body that asks for a decision.
type DecisionRequest struct {
	decision.Request
	Preview string `json:"preview,omitempty"` // token of the preview that was shown; to enforce
	Yes     bool   `json:"yes,omitempty"`     // enforce without
}

// Decision is a decision with what became of it on the nodes.
type Decision struct {
	decision.View
	Nodes      []store.NodeAck      `json:"nodes"`       // that spoke of it, by name, at most 10,000
	NotCovered []decision.NodeCover `json:"not_covered"` // that enforce no decisions, or did not speak of it
}

// NotTold is why a node that enforces decisions is not covered by one.
const NotTold = "it has not acknowledged the decision"

func (s *Server) postPreview(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var body decision.Request
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	p, err := s.Decisions.Preview(r.Context(), principal(r).Name, body)
	if err != nil {
		return decisionError(err)
	}
	return writeJSON(w, p)
}

func (s *Server) postDecision(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var body DecisionRequest
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	who, need := principal(r), s.DecisionRoles.dryRun()
	if body.Mode == event.Enforce {
		need = s.DecisionRoles.enforce()
	}
	if err := permit(who, need); err != nil {
		return err
	}
	asked, err := s.Decisions.Issue(r.Context(), who.Name, body.Request, body.Preview, body.Yes)
	if err != nil {
		return decisionError(err)
	}
	v := asked.View()
	w.Header().Set("Location", "/api/v1/decisions/"+v.ID)
	return writeJSON(w, v)
}

func (s *Server) getDecisions(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "state", "mode", "identity", "finding", "limit", "cursor")
	if err != nil {
		return err
	}
	state, err := oneOf(values, "state", texts(decision.States)...)
	if err != nil {
		return err
	}
	mode, err := oneOf(values, "mode", string(event.DryRun), string(event.Enforce))
	if err != nil {
		return err
	}
	n, err := limit(values)
	if err != nil {
		return err
	}
	list, next, err := s.Decisions.List(r.Context(), store.DecisionFilter{
		Identity: values.Get("identity"), Finding: values.Get("finding"), Mode: event.Mode(mode), Limit: n, Cursor: values.Get("cursor"),
	}, decision.State(state))
	if err != nil {
		return decisionError(err)
	}
	page := Page[decision.View]{Items: list, NextCursor: next}
	if page.Items == nil {
		page.Items = []decision.View{}
	}
	return writeJSON(w, page)
}

func (s *Server) getDecision(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	return s.showDecision(w, r, r.PathValue("id"))
}

// maxDecisionNodes bounds the nodes of one answer.
const maxDecisionNodes = 10_000

func (s *Server) showDecision(w http.ResponseWriter, r *http.Request, id string) error {
	v, err := s.Decisions.Get(r.Context(), id)
	if err != nil {
		return decisionError(err)
	}
	out := Decision{View: v, Nodes: []store.NodeAck{}, NotCovered: []decision.NodeCover{}}
	if v.State != decision.StateWaiting {
		if acks, err := s.Decisions.Acks(r.Context(), id, "", maxDecisionNodes); err != nil {
			return decisionError(err)
		} else if len(acks) > 0 {
			out.Nodes = acks
		}
	}
	if v.State == decision.StateInForce || v.State == decision.StateWaiting {
		nodes, err := s.Decisions.Nodes(r.Context())
		if err != nil {
			return decisionError(err)
		}
		out.NotCovered = notCovered(nodes, out.Nodes, v.State == decision.StateWaiting)
	}
	return writeJSON(w, out)
}

// notCovered are nodes that enforce no decisions and, unless the decision waits, those that did not speak of it.
func notCovered(nodes []decision.NodeCover, acks []store.NodeAck, waiting bool) []decision.NodeCover {
	told := map[string]bool{}
	for _, a := range acks {
		told[a.Node] = a.State != event.AckNotCovered
	}
	out := []decision.NodeCover{}
	for _, n := range nodes {
		switch {
		case told[n.Node]:
		case !n.Covered:
			out = append(out, n)
		case !waiting:
			n.Covered, n.Why = false, NotTold
			out = append(out, n)
		}
	}
	return out
}

func (s *Server) deleteDecision(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "reason")
	if err != nil {
		return err
	}
	if values.Get("reason") == "" {
		return problem(http.StatusBadRequest, "reason is missing: say why the decision ends, for the audit trail")
	}
	v, err := s.Decisions.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return decisionError(err)
	}
	d, err := s.Decisions.Revoke(r.Context(), principal(r).Name, v.ID, values.Get("reason"))
	if err != nil {
		return decisionError(err)
	}
	if d == nil { // it waited, and is gone
		v.State = decision.StateWithdrawn
		return writeJSON(w, Decision{View: v, Nodes: []store.NodeAck{}, NotCovered: []decision.NodeCover{}})
	}
	return s.showDecision(w, r, d.ID)
}

func (s *Server) postApproval(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	// Nothing is said in the body, but a form of another site could not send its content type.
	var nothing struct{}
	if err := readJSON(w, r, &nothing); err != nil {
		return err
	}
	d, err := s.Decisions.Approve(r.Context(), principal(r).Name, r.PathValue("id"))
	if err != nil {
		return decisionError(err)
	}
	return writeJSON(w, decision.Asked{Decision: d}.View())
}

func (s *Server) getDecisionPolicy(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "format", "selector")
	if err != nil {
		return err
	}
	format, err := oneOf(values, "format", string(decision.Cilium), string(decision.Kubernetes))
	if err != nil {
		return err
	}
	v, err := s.Decisions.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return decisionError(err)
	}
	text, err := decision.Policy(&v.Decision, decision.PolicyFormat(cmp.Or(format, string(decision.Cilium))), values.Get("selector"))
	if err != nil {
		return decisionError(err)
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = io.WriteString(w, text)
	return nil
}

// DecisionCoverage says which nodes enforce decisions, and how long that takes.
type DecisionCoverage struct {
	Nodes        []decision.NodeCover `json:"nodes"`
	TimeToRevoke store.RevokeTimes    `json:"time_to_revoke"` // of the last 30 days
}

func (s *Server) getDecisionCoverage(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	nodes, err := s.Decisions.Nodes(r.Context())
	if err != nil {
		return decisionError(err)
	}
	times, err := s.Decisions.TimeToRevoke(r.Context(), 30*24*time.Hour)
	if err != nil {
		return decisionError(err)
	}
	if nodes == nil {
		nodes = []decision.NodeCover{}
	}
	return writeJSON(w, DecisionCoverage{nodes, times})
}

// decisionError says what is the client's fault.
func decisionError(err error) error {
	for _, x := range []struct {
		err    error
		status int
	}{
		{decision.ErrInvalid, http.StatusBadRequest}, {decision.ErrRail, http.StatusUnprocessableEntity}, {decision.ErrPreview, http.StatusPreconditionRequired},
		{decision.ErrConflict, http.StatusConflict}, {decision.ErrNotFound, http.StatusNotFound}, {decision.ErrNoKey, http.StatusServiceUnavailable},
		{decision.ErrStopped, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, x.err) {
			return problem(x.status, "%v", err)
		}
	}
	return storeError(err)
}
