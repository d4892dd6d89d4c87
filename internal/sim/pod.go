package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// pod is one running instance of an identity.
type pod struct {
	member   *member
	hash     uint64
	since    time.Duration
	machine  *machine
	address  netip.Addr
	workload event.Workload
	derived  event.Identity // what its address alone says
	svid     *event.Certificate
	epoch    int64 // of svid
}

// podAt describes the pod in a slot of a member at a time. It depends on nothing else: whoever asks, whenever, gets the same answer.
func (w *world) podAt(m *member, replica int, t time.Duration) pod {
	hash, since, machine := w.podKey(m, replica, t)
	return w.describe(m, replica, t, hash, since, machine)
}

// cached is the same for the stream, which asks again and again. fresh says that it is another than at the last look.
func (w *world) cached(m *member, replica int, t time.Duration) (p *pod, fresh bool) {
	for len(m.pods) <= replica {
		m.pods = append(m.pods, pod{})
	}
	p = &m.pods[replica]
	hash, since, machine := w.podKey(m, replica, t)
	if p.hash == hash {
		return p, false
	}
	*p = w.describe(m, replica, t, hash, since, machine)
	return p, true
}

func (w *world) podKey(m *member, replica int, t time.Duration) (hash uint64, since time.Duration, on *machine) {
	if m.kind == kindUnit {
		return mix(m.hash, 1), m.machine.from, m.machine
	}
	version := m.version(t)
	since = m.born
	if version > 0 {
		since = max(since, m.deploys[version-1])
	}
	life := uint64(0)
	switch {
	case m.kind == kindJob, m.kind == kindRunner: // each run has a pod
		life = uint64(t / time.Hour)
		since = max(since, t.Truncate(time.Hour))
	case replica >= m.replicas: // scaled up this morning
		life = uint64(t/day) + 1
		since = max(since, t.Truncate(day)+8*time.Hour)
	}
	first, n := 0, w.prodSlots
	if !m.prod {
		first, n = w.prodSlots, len(w.slots)-w.prodSlots
	}
	placed := mix(m.hash, uint64(replica), life)
	if m.kind != kindStore { // volumes hold stores where they are
		placed = mix(placed, uint64(version))
	}
	on = w.slots[first+int(placed%uint64(n))].at(t)
	since = max(since, on.from)
	return mix(m.hash, uint64(replica), uint64(version), life, on.hash), since, on
}

func (w *world) describe(m *member, replica int, t time.Duration, hash uint64, since time.Duration, on *machine) pod {
	p := pod{member: m, hash: hash, since: since, machine: on, derived: m.derived}
	if m.kind == kindUnit {
		p.address = on.address
		p.workload = event.Workload{
			Identity: m.id, Evidence: event.EvidenceSystemd, Unit: m.account, Executable: m.exe, Cgroup: "system.slice/" + m.account,
		}
		return p
	}
	p.address = netip.AddrFrom4([4]byte{10, 64 + byte(hash>>16&63), byte(hash >> 8), 2 + byte(hash)%250})
	version := m.version(t)
	name := fmt.Sprintf("%s-%s-%s", m.account, hexText(mix(m.hash, uint64(version)), 5), hexText(hash, 3)[:5])
	owner := m.owner
	if m.canary && replica == m.replicas-1 {
		owner += "-canary"
		name = strings.Replace(name, m.account, m.account+"-canary", 1)
	}
	switch m.kind {
	case kindStore:
		name = fmt.Sprintf("%s-%d", m.account, replica)
	case kindJob:
		name = fmt.Sprintf("%s-%d-%s", m.account, int64(w.Start.Add(t).Unix()/60), hexText(hash, 3)[:5])
	case kindRunner:
		name = fmt.Sprintf("%s-%s", m.account, hexText(hash, 5))
	}
	p.workload = event.Workload{
		Identity: m.id, Evidence: event.EvidenceKubernetes, Namespace: m.namespace, Pod: name, Container: m.function,
		Image: m.image + "@sha256:" + hexText(mix(m.hash, 77, uint64(version)), 32), ServiceAccount: m.account, Owner: owner, Executable: m.exe,
		Cgroup: "kubepods.slice/kubepods-pod" + hexText(hash, 16),
	}
	if m.mesh {
		p.workload.Evidence = event.EvidenceSVID
	}
	if version > 0 && share(mix(m.hash, 78, uint64(version))) < w.NewPrograms {
		p.workload.Executable = "/usr/local/bin/" + m.function
	}
	return p
}

// svidLife is how long an SVID is valid; it is replaced at half of it.
const svidLife = time.Hour

// certificate is the pod's SVID at a time.
func (w *world) certificate(p *pod, t time.Duration) *event.Certificate {
	if epoch := int64(t/(svidLife/2)) + 1; p.epoch != epoch {
		p.svid, p.epoch = w.svidOf(p.hash, t), epoch
	}
	return p.svid
}

func (w *world) svidOf(pod uint64, t time.Duration) *event.Certificate {
	epoch := t.Truncate(svidLife / 2)
	return &event.Certificate{
		SHA256: hexText(mix(pod, 3, uint64(epoch)), 32), Serial: hexText(mix(pod, 4, uint64(epoch)), 8), Issuer: "CN=mesh CA,O=" + trustDomain,
		NotBefore: w.Start.Add(epoch - 30*time.Second), NotAfter: w.Start.Add(epoch + svidLife), Proven: true,
	}
}

// certificateAt is what a place shows at a time.
func (p *place) certificateAt(w *world, t time.Duration) *event.Certificate {
	if p.certificate == nil || !w.Start.Add(t).Before(p.certificate.NotAfter.Add(-30*day)) || w.Start.Add(t).Before(p.certificate.NotBefore) {
		p.certificate = w.serverCertificate(p.hash, "CN=Public CA 3,O=Public Trust", t)
	}
	return p.certificate
}

// serverCertificate is what a service outside of the mesh shows: valid for 90 days, replaced after 60.
func (w *world) serverCertificate(hash uint64, issuer string, t time.Duration) *event.Certificate {
	const life, replaced = 90 * day, 60 * day
	shift := time.Duration(hash % uint64(replaced))
	epoch := (t + shift) / replaced
	from := epoch*replaced - shift
	return &event.Certificate{
		SHA256: hexText(mix(hash, 5, uint64(epoch)), 32), Serial: hexText(mix(hash, 6, uint64(epoch)), 16), Issuer: issuer,
		NotBefore: w.Start.Add(from), NotAfter: w.Start.Add(from + life),
	}
}
