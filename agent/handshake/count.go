package handshake

// cause is why something was not told.
type cause int

const (
	pendingFull cause = iota
	unbound
	unjoined
	conflicting
	unfinished
	nested
	holed
	certificateMalformed
	certificateTooLarge
	certificateRate
	certificateUnclear
	sessionMalformed
	causes
)

var causeNames = [causes]string{
	pendingFull:          "tls-pending-full",          // handshakes were told early, there were too many
	unbound:              "tls-unbound",               // the socket is not known
	unjoined:             "tls-unjoined",              // the hello that was sent was not seen on the wire, or by several sockets
	conflicting:          "tls-conflict",              // program and wire do not agree
	unfinished:           "tls-unfinished",            // a program's handshake without end
	nested:               "tls-nested",                // another handshake of the same socket: of TLS within TLS
	holed:                "tls-holed",                 // records were lost, maybe of these
	certificateMalformed: "tls-certificate-malformed", //
	certificateTooLarge:  "tls-certificate-too-large", // or cut
	certificateRate:      "tls-certificate-rate",      // too many new ones
	certificateUnclear:   "tls-certificate-unclear",   // nobody knows which is the peer's
	sessionMalformed:     "tls-session-malformed",     //
}

// provenance numbers what handshakes were told as.
type provenance int

const (
	full provenance = iota
	resumed
	inferred
	wireOnly
	failed
	provenances
)

var gaugeNames = [provenances]string{full: "tls-full", resumed: "tls-resumed", inferred: "tls-inferred", wireOnly: "tls-wire-only", failed: "tls-failed"}

// words of [event.TLS.Provenance]. Handshakes that failed are known as well as others.
var words = [provenances]string{full: "full", resumed: "resumed", inferred: "inferred", wireOnly: "wire-only", failed: "full"}

// Counters are what was not told since the start, by cause; every cause is there.
func (t *Tracker) Counters() map[string]uint64 {
	out := make(map[string]uint64, causes)
	for c, name := range causeNames {
		out[name] = t.losses[c]
	}
	return out
}

// Gauges are the connections whose handshakes were told since the start, by how well they are known, what waits, and the known certificates.
func (t *Tracker) Gauges() map[string]uint64 {
	out := make(map[string]uint64, provenances+2)
	for p, name := range gaugeNames {
		out[name] = t.gauges[p]
	}
	out["tls-pending"], out["tls-certificates"] = uint64(len(t.queue)), uint64(t.certificates.cache.Len())
	return out
}
