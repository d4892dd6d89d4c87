package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// status is how well the API can be reached.
type status struct {
	host, node string
	back       *signal // given when a request succeeds while something is away

	mu       sync.Mutex // guards all below
	started  time.Time
	feeds    map[string]*feedStatus
	away     time.Time // since when some kind of object cannot be told; zero while all can
	warned   bool
	gone     time.Duration
	silent   time.Time // since when the API does not answer, or not as it should; rights that are missing are an answer
	silences []Silence // that are over
	noNode   bool      // nodes are known, and this is none of them
	denied   map[right]bool
	restarts uint64
	relists  uint64
	unowned  uint64
}

type feedStatus struct {
	told    bool // all of them, once
	watched bool
	err     error
	asking  time.Time // since when an answer is awaited; zero while none is
}

// blip is how long the API may be away without a line in the log: connections that are cut are made anew at once.
const blip = 2 * time.Second

var errNoAnswer = errors.New("it does not answer")

// patience is how long an answer may take before that is worth a word.
const patience = 10 * time.Second

func newStatus(host, node string) *status {
	s := &status{host: host, node: node, back: newSignal(), feeds: map[string]*feedStatus{}, denied: map[right]bool{}}
	for _, k := range watched {
		s.feeds[k.resource] = &feedStatus{}
	}
	return s
}

func (s *status) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = time.Now()
}

// asking notes that a request begins.
func (s *status) asking(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[resource].asking = time.Now()
}

// asked notes how a request went. A list that succeeds does not make up for a watch that is forbidden; a watch is all that is needed.
func (s *status) asked(resource, verb string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[resource]
	f.asking = time.Time{}
	switch {
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err): // an answer as good as any
	case err != nil:
		f.err = err
	case verb == "watch" || !apierrors.IsForbidden(f.err):
		f.err = nil
	}
	if err == nil && !s.away.IsZero() {
		s.back.give()
	}
	if verb == "watch" && err == nil {
		if f.watched {
			s.restarts++
		}
		f.watched = true
	}
	s.weigh(time.Now())
}

// weigh keeps the time since when something is not told, and tells when it begins and ends.
func (s *status) weigh(now time.Time) {
	for _, f := range s.feeds {
		if f.err == nil && !f.asking.IsZero() && now.Sub(f.asking) > patience {
			f.err = errNoAnswer
		}
	}
	_, err := s.failing(nil)
	switch {
	case err != nil && s.away.IsZero():
		s.away = now
	case err != nil && !s.warned && now.Sub(s.away) >= blip && !apierrors.IsForbidden(err): // which rights are missing is told one by one
		s.warned = true
		slog.Warn("the Kubernetes API is away: pods and addresses are told as they were", "server", s.host, "error", err)
	case err == nil && !s.away.IsZero():
		s.gone += now.Sub(s.away)
		if s.warned {
			slog.Info("the Kubernetes API is back", "server", s.host, "after", now.Sub(s.away).Round(time.Millisecond))
		}
		s.away, s.warned = time.Time{}, false
	}
	s.weighSilence(now)
}

// failing gives the kinds whose last request failed in a way that counts (nil: in any), and one of the reasons.
func (s *status) failing(counts func(error) bool) (resources []string, err error) {
	for _, k := range watched {
		if e := s.feeds[k.resource].err; e != nil && (counts == nil || counts(e)) {
			resources, err = append(resources, k.resource), short(e)
		}
	}
	return resources, err
}

// short leaves out the request, which is long and of no help.
func short(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}

func (s *status) told(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[resource]
	if f.told {
		s.relists++
	}
	f.told = true
}

func (s *status) synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.untold()) == 0
}

func (s *status) untold() (resources []string) {
	for _, k := range watched {
		if !s.feeds[k.resource].told {
			resources = append(resources, k.resource)
		}
	}
	return resources
}

func (s *status) nodeKnown(known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known && !s.noNode {
		slog.Warn("the Kubernetes API knows no node by this name: no pod can be this node's; set kubernetes.node", "node", s.node)
	}
	s.noNode = !known
}

func (s *status) nodeMissing() string {
	return fmt.Sprintf("pods of this node: the Kubernetes API knows no node %q; set kubernetes.node to its name there", s.node)
}

func (s *status) ownerUnknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unowned++
}

func (s *status) missing(now time.Time) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weigh(now)
	if s.noNode {
		lines = append(lines, s.nodeMissing())
	}
	resources, err := s.failing(unanswered)
	what := strings.Join(resources, ", ")
	if len(resources) == len(watched) {
		what = "pods and addresses"
	}
	switch { // the same words for the same: coverage gathers them
	case apierrors.IsUnauthorized(err):
		lines = append(lines, fmt.Sprintf("new %s: the Kubernetes API at %s does not accept the agent's credentials", what, s.host))
	case err != nil:
		lines = append(lines, fmt.Sprintf("new %s: the Kubernetes API at %s is away", what, s.host))
	case s.away.IsZero() && len(s.untold()) > 0 && !s.started.IsZero() && now.Sub(s.started) > patience:
		lines = append(lines, fmt.Sprintf("%s: the Kubernetes API at %s has not told them yet", strings.Join(s.untold(), ", "), s.host))
	}
	for _, r := range needed {
		if s.denied[r] {
			lines = append(lines, r.missing())
		}
	}
	return lines
}

func (s *status) counters(now time.Time) map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weigh(now)
	away := s.gone
	if !s.away.IsZero() {
		away += now.Sub(s.away)
	}
	return map[string]uint64{"kubernetes-away-seconds": uint64(away / time.Second)}
}

func (s *status) gauges() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]uint64{
		"kubernetes-watch-restarts": s.restarts,
		"kubernetes-relists":        s.relists,
		"kubernetes-owners-guessed": s.unowned,
	}
}
