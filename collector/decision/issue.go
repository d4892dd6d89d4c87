package decision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Asked is what came of a request: a decision that is signed and on its way, or one that waits.
type Asked struct {
	Decision *event.Decision
	Waiting  *Waiting
}

// View is what is told of it at once, when no node has spoken yet.
func (a Asked) View() View {
	if a.Waiting != nil {
		return waitingView(a.Waiting)
	}
	return View{Decision: *a.Decision, State: StateInForce, Acks: store.AckSummary{Nodes: map[event.AckState]uint64{}}}
}

// Issue has a decision signed, or wait for approval. Enforcing needs the token of a preview of the same request, or yes. Errors are those of this package.
func (s *Service) Issue(ctx context.Context, who string, r Request, preview string, yes bool) (Asked, error) {
	asked, err := s.issue(ctx, who, r, preview, yes)
	s.metrics.request("issue", err)
	return asked, err
}

func (s *Service) issue(ctx context.Context, who string, r Request, preview string, yes bool) (Asked, error) {
	run, err := s.able()
	if err != nil {
		return Asked{}, err
	}
	now := s.moment()
	if _, err := s.check(&r, now); err != nil {
		s.auditRefusal(ctx, who, &r, err)
		return Asked{}, err
	}
	if r.Mode == event.Enforce && !yes {
		if err := s.checkToken(preview, who, &r, now); err != nil {
			return Asked{}, err
		}
	}
	id := "d-" + nuid.Next()
	// Both take their time, and every moment until it is in force counts.
	var g errgroup.Group
	g.Go(func() error { return s.exists(ctx, &r) })
	_, asked := s.trail.Append(ctx, who, "decision.asked", id, detail(&r))
	if err := g.Wait(); err != nil {
		s.auditRefusal(ctx, who, &r, err)
		return Asked{}, err
	}
	if asked != nil { // what nobody could prove later does not happen
		return Asked{}, asked
	}
	if r.Approve || s.cfg.Approval == ApprovalAll || s.cfg.Approval == ApprovalEnforce && r.Mode == event.Enforce {
		w := Waiting{ID: id, Request: r, Requester: who, Asked: now, Until: now.Add(s.cfg.Wait)}
		return Asked{Waiting: &w}, s.wait(ctx, run, &w)
	}
	d := r.decision(id, who, now)
	if err := s.sign(ctx, run, d, 0, who, "decision.signed", nil); err != nil {
		return Asked{}, err
	}
	return Asked{Decision: d}, nil
}

// able says whether decisions can be signed here.
func (s *Service) able() (*running, error) {
	if s.cfg.Key == nil {
		return nil, fmt.Errorf("%w: this collector has none to sign with: set decisions.key_file", ErrNoKey)
	}
	return s.working()
}

// exists wants identities that somebody has seen or declared: a name with a slip denies nobody, and nobody would notice.
func (s *Service) exists(ctx context.Context, r *Request) error {
	known, err := s.store.KnownIdentities(ctx, r.Identity, r.Glob, 1)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return fmt.Errorf("%w: identity %s was never seen and is not declared; `ambit identities` lists those that are known", ErrRail, r.Identity)
	}
	return nil
}

func (s *Service) wait(ctx context.Context, run *running, w *Waiting) error {
	data, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	revision, err := run.requests.Create(ctx, w.ID, data)
	if err != nil {
		return fmt.Errorf("keep the request: %w", err)
	}
	s.book.putWaiting(*w, revision)
	return nil
}

// sign signs a decision and puts it where the agents look: over the form at a revision, or anew if that is 0.
func (s *Service) sign(ctx context.Context, run *running, d *event.Decision, revision uint64, who, action string, more map[string]string) error {
	old := d.Serial
	d.Serial = s.nextSerial(old)
	if err := d.Sign(s.cfg.Key); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode a decision: %w", err)
	}
	about := map[string]string{"serial": strconv.FormatUint(d.Serial, 10), "expires": d.Expires.Format(time.RFC3339), "key": d.Key, "mode": string(d.Mode)}
	for k, v := range more {
		about[k] = v
	}
	// That it was asked for is written down already.
	var g errgroup.Group
	g.Go(func() error {
		_, err := s.trail.Append(ctx, who, action, d.ID, about)
		return err
	})
	if revision == 0 {
		revision, err = run.decisions.Create(ctx, d.ID, data)
	} else {
		revision, err = run.decisions.Update(ctx, d.ID, data, revision)
	}
	if also := g.Wait(); also != nil {
		s.log.Error("write down that a decision was signed", "decision", d.ID, "error", also)
	}
	if err != nil {
		about = maps.Clone(about)
		about[audit.Failed] = audit.Why(err)
		if isConflict(err) {
			about[audit.Failed] = "it was changed at the same time"
		} else {
			s.log.Error("send a decision to the agents", "decision", d.ID, "error", err)
		}
		if _, also := s.trail.Append(context.WithoutCancel(ctx), who, action, d.ID, about); also != nil {
			s.log.Error("write down that a decision was not sent", "decision", d.ID, "error", also)
		}
	}
	if isConflict(err) {
		return fmt.Errorf("%w: decision %s was changed at the same time; look at it, and try again", ErrConflict, d.ID)
	}
	if err != nil {
		return fmt.Errorf("send decision %s to the agents: %w", d.ID, err)
	}
	if changed, err := s.book.put(d, revision, s.now()); err == nil && changed {
		what := "signed"
		if !d.Revoked.IsZero() {
			what = "revoked"
		}
		s.book.tell(Change{Decision: d.ID, What: what, At: s.now().UTC()})
	}
	return nil
}

// Approve signs what waits. Who asked for it cannot.
func (s *Service) Approve(ctx context.Context, who, id string) (*event.Decision, error) {
	d, err := s.approve(ctx, who, id)
	s.metrics.request("approve", err)
	return d, err
}

func (s *Service) approve(ctx context.Context, who, id string) (*event.Decision, error) {
	run, err := s.able()
	if err != nil {
		return nil, err
	}
	w, err := s.readWaiting(ctx, run, id)
	if err != nil {
		return nil, err
	}
	if w.Requester == who {
		return nil, fmt.Errorf("%w: %s asked for decision %s; another person must approve it", ErrRail, who, id)
	}
	now := s.moment()
	if !now.Before(w.Until) {
		return nil, fmt.Errorf("%w: decision %s waited until %s; ask for it again", ErrConflict, id, w.Until.Format(time.RFC3339))
	}
	r := w.Request
	if _, err := s.check(&r, now); err != nil { // the rails may have changed
		return nil, err
	}
	d := r.decision(id, w.Requester, now)
	d.Approver = who
	// Create fails where somebody else was quicker.
	if err := s.sign(ctx, run, d, 0, who, "decision.approved", map[string]string{"requester": w.Requester}); err != nil {
		return nil, err
	}
	s.dropWaiting(ctx, run, w)
	return d, nil
}

// readWaiting reads what waits from the bucket: what is in memory may be late.
func (s *Service) readWaiting(ctx context.Context, run *running, id string) (*keptWaiting, error) {
	if !event.ValidDecisionID(id) {
		return nil, fmt.Errorf("%w: there is no decision %.80q", ErrNotFound, id)
	}
	e, err := run.requests.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		if k := s.book.get(id); k != nil {
			return nil, fmt.Errorf("%w: decision %s is signed already", ErrConflict, id)
		}
		return nil, fmt.Errorf("%w: no decision %s waits for approval", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("read the request %s: %w", id, err)
	}
	var w Waiting
	if err := json.Unmarshal(e.Value(), &w); err != nil || w.ID != id {
		return nil, fmt.Errorf("%w: the request %s cannot be read", ErrInvalid, id)
	}
	return &keptWaiting{w, e.Revision()}, nil
}

// dropWaiting takes a request away. One that stays is signed, so that approving it again fails, and it goes with its time.
func (s *Service) dropWaiting(ctx context.Context, run *running, w *keptWaiting) {
	if err := run.requests.Purge(ctx, w.ID, jetstream.LastRevision(w.revision), jetstream.PurgeTTL(MarkerTTL)); err != nil && !isConflict(err) {
		s.log.Warn("drop a request that was decided", "decision", w.ID, "error", err)
		return
	}
	s.book.removeWaiting(w.ID)
}

// Revoke ends a decision before its time, or drops one that waits. It is signed too, so that nobody else can.
func (s *Service) Revoke(ctx context.Context, who, id, reason string) (*event.Decision, error) {
	d, err := s.revoke(ctx, who, id, reason)
	s.metrics.request("revoke", err)
	return d, err
}

func (s *Service) revoke(ctx context.Context, who, id, reason string) (*event.Decision, error) {
	run, err := s.able()
	if err != nil {
		return nil, err
	}
	if !event.ValidDecisionID(id) {
		return nil, fmt.Errorf("%w: there is no decision %.80q", ErrNotFound, id)
	}
	// What is in the bucket may be forged, an old form, or gone, which lifts nothing: only what was checked is signed again.
	revision := uint64(0)
	e, err := run.decisions.Get(ctx, id)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if s.book.get(id) == nil {
			return nil, s.withdraw(ctx, run, who, id, reason)
		}
	case err != nil:
		return nil, fmt.Errorf("read decision %s: %w", id, err)
	default:
		revision = e.Revision()
		var found *event.Decision
		if found, err = event.DecodeDecision(e.Value()); err == nil && found.ID != id {
			err = event.ErrSignature
		}
		if err == nil {
			_, err = s.book.put(found, revision, s.now())
		}
	}
	k := s.book.get(id)
	if k == nil {
		return nil, fmt.Errorf("%w: decision %s cannot be revoked: what stands in the bucket is not believed: %w", ErrConflict, id, err)
	}
	d := k.Clone()
	now := s.moment()
	switch {
	case !d.Revoked.IsZero():
		return nil, fmt.Errorf("%w: decision %s was revoked by %s at %s", ErrConflict, id, d.RevokedBy, d.Revoked.Format(time.RFC3339))
	case !now.Before(d.Expires):
		return nil, fmt.Errorf("%w: decision %s expired at %s", ErrConflict, id, d.Expires.Format(time.RFC3339))
	}
	if now.Before(d.Issued) {
		now = d.Issued
	}
	d.Revoked, d.RevokedBy, d.RevokedWhy = now, who, reason
	if _, err := s.trail.Append(ctx, who, "decision.revocation-asked", id, map[string]string{"reason": reason}); err != nil {
		return nil, err
	}
	if err := s.sign(ctx, run, d, revision, who, "decision.revoked", map[string]string{"reason": reason}); err != nil {
		return nil, err
	}
	return d, nil
}

// withdraw drops a request that waits.
func (s *Service) withdraw(ctx context.Context, run *running, who, id, reason string) error {
	w, err := s.readWaiting(ctx, run, id)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: there is no decision %s that holds or waits", ErrNotFound, id)
		}
		return err
	}
	if _, err := s.trail.Append(ctx, who, "decision.withdrawn", id, map[string]string{"reason": reason, "requester": w.Requester}); err != nil {
		return err
	}
	s.dropWaiting(ctx, run, w)
	return nil
}

// detail is what an audit record says of a request.
func detail(r *Request) map[string]string {
	m := map[string]string{
		"identity": r.Identity, "to": r.To, "direction": string(r.Direction), "mode": string(r.Mode), "for": time.Duration(r.For).String(), "reason": r.Reason,
	}
	if r.Glob {
		m["glob"] = "true"
	}
	if r.Code != "" {
		m["code"] = r.Code
	}
	if r.Finding != "" {
		m["finding"] = r.Finding
	}
	return m
}

// auditRefusal writes down that somebody asked for what a rail forbids.
func (s *Service) auditRefusal(ctx context.Context, who string, r *Request, why error) {
	if !errors.Is(why, ErrRail) {
		return
	}
	m := detail(r)
	m["why"] = why.Error()
	if _, err := s.trail.Append(ctx, who, "decision.refused", r.Identity, m); err != nil {
		s.log.Error("write down a refusal", "error", err)
	}
}
