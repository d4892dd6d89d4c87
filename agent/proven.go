package agent

import (
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// proven are the identities that workloads have shown certificates of, by cgroup: handshakes that completed, with SVIDs that the authorities of their trust
// domain stand for. A workload goes by its own SVID then, also where it uses none. Where a cgroup has shown several, each is only told with its handshakes.
//
// What a program shows is read from its memory, and is its word. Identities of the forms that Ambit derives itself are the kernel's word, and a program that
// claims another's is not believed.
type proven struct {
	domain  event.TrustDomain
	pods    event.IdentityTemplate // of their identities
	cgroups *lru.Cache[string, claim]

	generation uint64
	changed    bool   // since it was written down
	refused    uint64 // claims of identities that others have for certain
	several    uint64 // cgroups that showed more than one
}

type claim struct {
	identity event.Identity // zero if there are several
	until    time.Time      // when the certificate ends that proves it, or the last of several
	from, to *event.Workload
}

const maxProven = 8192

func newProven(domain event.TrustDomain, pods event.IdentityTemplate) *proven {
	return &proven{domain: domain, pods: pods, cgroups: lru.New[string, claim](maxProven)}
}

// own says who a workload is by an identity that it has shown; nil if as before.
func (p *proven) own(w *event.Workload, id event.Identity) *event.Workload {
	if id.IsZero() || w.Evidence == event.EvidenceSVID && w.Identity == id || p.derived(id) && w.Identity != id {
		return nil
	}
	to := *w
	to.Identity, to.Evidence, to.Unattributed = id, event.EvidenceSVID, ""
	return &to
}

// derived says whether Ambit itself gives identities of this form. Service accounts that no template fits get the standard form.
func (p *proven) derived(id event.Identity) bool {
	path, ok := strings.CutPrefix(id.String(), "spiffe://"+p.domain.String()+"/")
	return ok && strings.HasPrefix(path, "node/") || p.pods.Makes(p.domain, id) || event.IdentityTemplate{}.Makes(p.domain, id)
}

// show takes note of an identity that a workload shows now, by a certificate that is valid until a time.
func (p *proven) show(w *event.Workload, id event.Identity, until, now time.Time) {
	if id.IsZero() {
		return
	}
	if w.Identity != id && p.own(w, id) == nil {
		p.refused++
		return
	}
	if w.Cgroup == "" || w.Evidence == event.EvidenceProcess { // others are in there, too
		return
	}
	c := p.cgroups.Get(w.Cgroup)
	switch {
	case c != nil && c.identity == id:
		if until.After(c.until) {
			c.until, p.changed = until, true
		}
		return
	case c == nil || now.After(c.until): // a unit keeps its cgroup when it becomes somebody else
		p.cgroups.Put(w.Cgroup, claim{identity: id, until: until})
	case c.identity.IsZero():
		if until.After(c.until) {
			c.until = until
		}
		return
	default:
		if c.until.After(until) {
			until = c.until
		}
		*c = claim{until: until}
		p.several++
	}
	p.generation++
	p.changed = true
}

// workload gives a workload by the identity that it goes by.
func (p *proven) workload(w *event.Workload) *event.Workload {
	c := p.cgroups.Get(w.Cgroup)
	if c == nil || c.identity.IsZero() || w.Evidence == event.EvidenceProcess {
		return w
	}
	if c.from != w {
		to := p.own(w, c.identity)
		if to == nil {
			return w
		}
		c.from, c.to = w, to
	}
	return c.to
}
