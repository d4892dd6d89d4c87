package collector

import (
	"strings"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector/health"
)

// strays are nodes whose agents divide identities otherwise than collectors do: what comes elsewhere than it belongs is refused. It is safe for concurrent use.
type strays struct {
	mu    sync.Mutex
	nodes map[string]time.Time // by token, when it was last heard of
}

const (
	maxStrays   = 1000
	strayMemory = time.Hour
)

func (s *strays) note(subject string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = map[string]time.Time{}
	}
	node := subject[strings.LastIndexByte(subject, '.')+1:]
	if _, known := s.nodes[node]; known || len(s.nodes) < maxStrays {
		s.nodes[node] = at
	}
}

// lately gives one of the nodes of the last hour, and how many there are.
func (s *strays) lately(now time.Time) (node string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, at := range s.nodes {
		switch {
		case now.Sub(at) > strayMemory:
			delete(s.nodes, name)
		case node == "" || name < node:
			node = name
			n++
		default:
			n++
		}
	}
	return node, n
}

// Division says whether agents divide identities into partitions as collectors do.
func (c *Collector) Division() health.Check {
	const name = "partitions"
	if node, n := c.strays.lately(time.Now()); n > 0 {
		return health.Warn(name, "agents of %d nodes, %s among them, do not divide identities into %d partitions: what comes elsewhere than it belongs is refused; set partitions there, too",
			n, node, c.cfg.Partitions)
	}
	return health.Of(name, nil)
}
