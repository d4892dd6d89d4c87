package decision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
)

// RefusedRule is the rule of findings about decisions that were not believed.
const RefusedRule = "decision-refused"

// serious are the reasons that no honest issuer gives cause for.
var serious = []error{event.ErrUnsigned, event.ErrUnknownKey, event.ErrSignature, event.ErrReplayed, event.ErrTooLong, event.ErrDecision}

// causes are reasons in a word, for counting.
var causes = []struct {
	err  error
	name string
}{
	{event.ErrUnsigned, "unsigned"}, {event.ErrUnknownKey, "unknown key"}, {event.ErrSignature, "altered"}, {event.ErrTooLong, "too long"}, {event.ErrNotYet, "from the future"},
	{event.ErrExpired, "expired"}, {event.ErrReplayed, "replayed"}, {event.ErrCrowded, "crowded"}, {event.ErrMalformed, "malformed"}, {event.ErrTooLarge, "too large"}, {event.ErrDecision, "invalid"},
}

func cause(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "other"
}

func isExpired(err error) bool { return errors.Is(err, event.ErrExpired) }

// quota bounds the findings about what each node refuses: whoever has one node's credentials could have thousands made.
type quota struct {
	mu    sync.Mutex
	nodes map[string]*rate.Limiter
}

// Bounds of findings about refused decisions.
const (
	refusedEvery = time.Minute // one, and
	refusedBurst = 10
	maxQuotas    = 20_000 // nodes that are told apart
)

func (q *quota) allow(node string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.nodes == nil || len(q.nodes) >= maxQuotas {
		q.nodes = map[string]*rate.Limiter{}
	}
	l := q.nodes[node]
	if l == nil {
		l = rate.NewLimiter(rate.Every(refusedEvery), refusedBurst)
		q.nodes[node] = l
	}
	return l.AllowN(now, 1)
}

// refusedBy makes a finding of what a node refused.
func (s *Service) refusedBy(ctx context.Context, a *event.Ack) {
	var d *event.Decision
	if k := s.book.get(a.Decision); k != nil {
		d = &k.Decision
		if strings.HasPrefix(a.Why, event.ErrExpired.Error()) {
			return // it came late, no more
		}
	} else if run, err := s.working(); err == nil {
		if e, err := run.decisions.Get(ctx, a.Decision); err == nil {
			d, _ = event.DecodeDecision(e.Value())
		}
	}
	s.foundRefused(ctx, a.Decision, d, a.Node, "node "+a.Node, a.Why, a.At)
}

// foundRefused tells of a decision that is not believed. What it says of itself, d, is only good for naming whom it is about, and may be nil.
func (s *Service) foundRefused(ctx context.Context, id string, d *event.Decision, node, by, why string, at time.Time) {
	if !s.quota.allow(node, s.now()) {
		s.metrics.refused.WithLabelValues("findings").Inc()
		return
	}
	severity, score := event.Medium, 0.5
	for _, err := range serious {
		if strings.HasPrefix(why, err.Error()) {
			severity, score = event.High, 0.9
		}
	}
	about, err := event.Identity{}, error(nil)
	if d != nil && !d.Glob {
		about, err = event.ParseIdentity(d.Identity)
	}
	if err != nil || about.IsZero() {
		about = event.UnitIdentity(s.cfg.TrustDomain, node+"decisions", "ambit")
	}
	sum := sha256.Sum256([]byte(RefusedRule + "\x00" + id + "\x00" + about.String()))
	f := event.Finding{
		ID: hex.EncodeToString(sum[:16]), Rule: RefusedRule, Title: "A decision was refused", Severity: severity, Score: score, Confidence: 1,
		Identity: about, Workload: event.Workload{Identity: about}, Node: node, FirstTime: at.UTC(), LastTime: at.UTC(), Count: 1,
		Explanation: []string{
			fmt.Sprintf("%s refused decision %s: %s.", by, id, why),
			"Somebody may write into the bucket of decisions who must not, or the nodes do not trust the key of the issuer.",
		},
		Baseline: []string{"Decisions that Ambit issues are signed, and every node believes them."},
		Status:   event.StatusNew,
	}
	if severity == event.High {
		f.Attack = []string{"T1562"}
	}
	if err := s.store.InsertFindings(ctx, []event.Finding{f}); err != nil {
		s.log.Error("keep a finding", "rule", RefusedRule, "error", err)
	}
	if run := s.run.Load(); run != nil {
		data, err := json.Marshal(&f)
		if err == nil {
			m := nats.NewMsg(event.FindingSubject(&f))
			m.Data = data
			m.Header.Set(nats.MsgIdHdr, f.MessageID())
			_, err = run.js.PublishMsg(ctx, m)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("tell a finding", "rule", RefusedRule, "error", err)
		}
	}
}
