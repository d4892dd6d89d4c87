package agent

import (
	"fmt"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

func (a *Agent) heartbeat(now time.Time) *event.Heartbeat {
	h := &event.Heartbeat{Time: now, Version: a.cfg.Version, Kernel: kernelRelease(), Gauges: a.publish.Gauges()}
	h.Gauges["edges"], h.Gauges["edges-max"], h.Gauges["cgroups"] = uint64(len(a.ledger.living)), bpf.Edges, uint64(len(a.ledger.cgroups))
	h.Gauges["connections"], h.Gauges["connections-unattributed"] = a.ledger.told.connections, a.ledger.told.unattributed
	h.Gauges["edges-waiting"] = uint64(len(a.ledger.held))
	memoryGauges(h.Gauges)
	for _, m := range a.kernel.Missing() {
		h.Missing = append(h.Missing, m.Purpose+" ("+m.Name+")")
	}
	h.Missing = append(h.Missing, a.sources.told()...)
	if a.cfg.Missing != nil {
		h.Missing = append(h.Missing, a.cfg.Missing()...)
	}
	gather(h.Gauges, append(a.sources.gauges, a.names.Gauges, a.ranges.Gauges, a.cluster.Gauges)...)
	known := gather(map[string]uint64{}, append(a.sources.counters, a.resolve.Counters, a.names.Counters, a.ranges.Counters, a.cluster.Counters,
		a.translations.Counters, a.publish.Counters)...)
	for _, name := range notLost {
		h.Gauges[name] = known[name]
		delete(known, name)
	}
	var tls map[string]uint64
	if a.deny != nil {
		var counts, gauges map[string]uint64
		h.Deny, counts, gauges = a.deny.Status()
		maps.Copy(h.Gauges, counts)
		maps.Copy(h.Gauges, gauges)
	}
	if w := a.tls; w != nil {
		h.Missing = append(h.Missing, w.missing()...)
		gather(h.Gauges, w.gauges)
		gather(known, w.counters)
		h.Gauges["svid-refused"], h.Gauges["svid-several"] = a.proven.refused, a.proven.several
		tls = w.lost
	}
	if more := len(h.Missing) - maxMissing; more > 0 {
		h.Missing = append(h.Missing[:maxMissing], fmt.Sprintf("%d things more", more))
	}
	h.Lost = a.losses.tell(a.lost, a.ledger.lost(), known, tls)
	return h
}

// maxMissing bounds how many sentences a heartbeat has: its receiver refuses one with very many, and with it all that it says.
const maxMissing = 100

// notLost are counters of what happened without anything being lost: names that are told by another, and connections that lead where they were dialled, or
// whose services are known all the same.
var notLost = []string{"dns-names-collapsed", "translation-found", "translation-none", "translation-unknown"}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
