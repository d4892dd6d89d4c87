package store

import (
	"slices"
	"strings"
)

// Names of an agent's gauges of TLS. All but the last count since its start; those of handshakes leave each other out.
const (
	gaugeConnections = "connections" // all, with TLS or without
	gaugeFull        = "tls-full"
	gaugeResumed     = "tls-resumed"
	gaugeInferred    = "tls-inferred"
	gaugeWireOnly    = "tls-wire-only"
	gaugeFailed      = "tls-failed"
	gaugeStack       = "tls-stack:" // a prefix; then the library and its version
)

var gaugesOfHandshakes = []string{gaugeFull, gaugeResumed, gaugeInferred, gaugeWireOnly, gaugeFailed}

// tlsGauges chooses what is kept of a heartbeat's gauges: nothing where the agent does not watch TLS.
func tlsGauges(gauges map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for name, n := range gauges {
		if slices.Contains(gaugesOfHandshakes, name) || strings.HasPrefix(name, gaugeStack) {
			out[name] = n
		}
	}
	if len(out) == 0 {
		return nil
	}
	out[gaugeConnections] = gauges[gaugeConnections]
	return out
}

// TLSWatch is what an agent saw of TLS.
type TLSWatch struct {
	Counts TLSCounts
	Stacks map[string]uint64 // most files that were watched at a time, by library and version; never nil
}

// TLSCounts counts connections by how much of their handshake was seen.
type TLSCounts struct {
	Connections uint64 // all, with TLS or without
	Full        uint64 // the whole handshake
	Resumed     uint64 // a resumption that tells whose session it was
	Inferred    uint64 // a resumption, known by the last full handshake
	WireOnly    uint64 // only what the wire shows
	Failed      uint64 // handshakes that failed
}

// watchTLS takes what was counted before from what was counted; stacks are levels, not counts.
func (r *watchedRow) watchTLS() *TLSWatch {
	if len(r.TLSWithin) == 0 {
		return nil
	}
	since := func(name string) uint64 {
		if n, before := r.TLS[name], r.TLSBefore[name]; n > before {
			return n - before
		}
		return 0
	}
	out := &TLSWatch{Stacks: map[string]uint64{}, Counts: TLSCounts{
		Connections: since(gaugeConnections), Full: since(gaugeFull), Resumed: since(gaugeResumed), Inferred: since(gaugeInferred),
		WireOnly: since(gaugeWireOnly), Failed: since(gaugeFailed),
	}}
	for name, files := range r.TLSWithin {
		if stack, ok := strings.CutPrefix(name, gaugeStack); ok && files > 0 {
			out.Stacks[stack] = files
		}
	}
	return out
}
