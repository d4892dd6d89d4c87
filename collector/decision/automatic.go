package decision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// Rule says which findings are answered with a decision.
type Rule struct {
	Rule     string         `mapstructure:"rule"`     // of the detector; empty: any
	Severity event.Severity `mapstructure:"severity"` // at least
	Identity string         `mapstructure:"identity"` // pattern; empty: anybody
	To       string         `mapstructure:"to"`       // resource: that of the finding; *: everything
	Mode     event.Mode     `mapstructure:"mode"`
	For      time.Duration  `mapstructure:"for"`
}

var severities = []event.Severity{event.Info, event.Low, event.Medium, event.High, event.Critical}

func (r *Rule) validate(maxLife time.Duration) error {
	switch {
	case !slices.Contains(severities, r.Severity):
		return fmt.Errorf("severity %q is not info, low, medium, high or critical", r.Severity)
	case r.To != "resource" && r.To != "*":
		return fmt.Errorf("to %q is not resource or *", r.To)
	case r.Mode != event.DryRun && r.Mode != event.Enforce:
		return fmt.Errorf("mode %q is not dry-run or enforce", r.Mode)
	case r.For < time.Minute || r.For > maxLife:
		return fmt.Errorf("for %s is not from 1m to the %s of deny.max_life", r.For, maxLife)
	case r.Rule == "" && r.Identity == "" && slices.Index(severities, r.Severity) < slices.Index(severities, event.High):
		return errors.New("it is about every finding: name a rule or identities, or want high severity")
	}
	return nil
}

func (r *Rule) fits(f *event.Finding) bool {
	return (r.Rule == "" || r.Rule == f.Rule) && slices.Index(severities, f.Severity) >= slices.Index(severities, r.Severity) &&
		(r.Identity == "" || event.Fits(r.Identity, f.Identity.String()))
}

// automaticName is the consumer of findings that all collectors share.
const automaticName = "ambit-automatic"

// answerFindings answers new findings as the rules say, until ctx ends. All collectors share the work, one finding at a time, since the breaker counts.
func (s *Service) answerFindings(ctx context.Context, run *running) error {
	return s.consume(ctx, run.js, event.StreamFindings, jetstream.ConsumerConfig{
		Durable: automaticName, Description: "answers findings with decisions", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute,
		DeliverPolicy: jetstream.DeliverNewPolicy, MaxAckPending: 1, MaxDeliver: 5,
	}, 1, func(ctx context.Context, batch []jetstream.Msg) error {
		for _, m := range batch {
			var f event.Finding
			if err := json.Unmarshal(m.Data(), &f); err != nil {
				s.metrics.refused.WithLabelValues("malformed finding").Inc()
				continue
			}
			if err := s.answerFinding(ctx, run, &f); err != nil {
				return err
			}
		}
		return nil
	})
}

// answerFinding gives an error if it should be tried again. The first rule that fits counts.
func (s *Service) answerFinding(ctx context.Context, run *running, f *event.Finding) error {
	if f.Status != event.StatusNew || f.Rule == RefusedRule || s.now().Sub(f.LastTime) > time.Hour {
		return nil
	}
	i := slices.IndexFunc(s.cfg.Automatic, func(r Rule) bool { return r.fits(f) })
	if i < 0 {
		return nil
	}
	rule := &s.cfg.Automatic[i]
	who := "rule:" + f.Rule
	r := Request{
		Identity: f.Identity.String(), To: "*", Direction: event.Outbound, Mode: rule.Mode, For: Span(rule.For), Code: "automatic", Finding: f.ID,
		Reason: "finding " + f.ID + ": " + strings.Map(printable, f.Title),
	}
	if rule.To == "resource" {
		if f.Resource.IsZero() {
			return s.stopped(ctx, who, &r, fmt.Errorf("%w: the finding names no resource", ErrRail))
		}
		r.To = f.Resource.String()
	}
	if len(r.Reason) > 512 {
		r.Reason = strings.ToValidUTF8(r.Reason[:512], "")
	}
	now := s.moment()
	d, err := s.check(&r, now)
	if err != nil {
		return s.stopped(ctx, who, &r, err)
	}
	var holding []time.Time
	for _, k := range s.book.all() {
		if k.Automatic && k.Holds(now) {
			holding = append(holding, k.Issued)
			if k.Finding == f.ID || k.Identity == d.Identity && k.To == d.To && k.Mode == d.Mode {
				return nil // it is answered
			}
		}
	}
	if err := s.breaker.allow(now, holding); err != nil {
		s.metrics.refused.WithLabelValues("breaker").Inc()
		return s.stopped(ctx, who, &r, err)
	}
	d.ID, d.Requester, d.Automatic, d.Code, d.Finding = automaticID(f, now), who, true, r.Code, r.Finding
	if _, err := s.trail.Append(ctx, who, "decision.asked", d.ID, detail(&r)); err != nil {
		return err
	}
	if s.cfg.Approval == ApprovalAll || s.cfg.Approval == ApprovalEnforce && d.Mode == event.Enforce {
		err = s.wait(ctx, run, &Waiting{ID: d.ID, Request: r, Requester: who, Asked: now, Until: now.Add(s.cfg.Wait)})
	} else {
		err = s.sign(ctx, run, d, 0, who, "decision.signed", map[string]string{"automatic": "true"})
	}
	if isConflict(err) || errors.Is(err, ErrConflict) {
		err = nil // this very finding was answered
	}
	s.metrics.request("automatic", err)
	return err
}

// automaticID is the same if a finding comes again within an hour, so that it is answered once.
func automaticID(f *event.Finding, now time.Time) string {
	id := strings.Map(func(r rune) rune {
		if r < 128 && event.ValidDecisionID(string(r)) {
			return r
		}
		return '-'
	}, f.ID)
	return fmt.Sprintf("auto-%.32s-%d", id, now.Unix()/3600)
}

// stopped writes down why a finding is not answered.
func (s *Service) stopped(ctx context.Context, who string, r *Request, why error) error {
	s.metrics.request("automatic", why)
	if !errors.Is(why, ErrRail) && !errors.Is(why, ErrInvalid) {
		return why
	}
	s.log.Warn("a finding is not answered", "finding", r.Finding, "error", why)
	m := detail(r)
	m["why"] = why.Error()
	_, err := s.trail.Append(ctx, who, "decision.refused", r.Identity, m)
	return err
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
