package peer

import (
	"hash/maphash"
	"strings"
	"time"
)

// learn says what a name is told as that this cgroup has not asked for yet, or not of late, and counts it among those of its domain.
func (n *Names) learn(cgroup uint64, name string, at time.Time) named {
	e := named{name: name, told: n.suffixes.collapse(name)}
	domain := n.suffixes.domain(name)
	if domain == "" || domain == name {
		return e // nobody else's, and not one of many
	}
	below := strings.TrimPrefix(e.told, "*.")
	if below != domain && !strings.HasSuffix(below, "."+domain) {
		return e // what the list gives stands for more than the domain already
	}
	// Names that are told as one count as one.
	e.domain = n.domains.add(n.domains.table(cgroup), "*."+domain, maphash.String(n.seed, e.told), at, n.cfg.Keep)
	if e.domain.stands {
		n.counted.collapsed++
	}
	return e
}

// confirm makes the domain of a name that was asked for again the newest. If it was forgotten meanwhile, its names are counted anew.
func (n *Names) confirm(cgroup uint64, e *named, at time.Time) {
	if e.domain != nil && n.domains.find(n.domains.table(cgroup), e.domain.key, at) != e.domain {
		*e = n.learn(cgroup, e.name, at)
	}
}
