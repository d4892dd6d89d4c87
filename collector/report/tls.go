package report

import (
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/collector/store"
)

// TLS is how much was seen of the handshakes of connections, of both directions, in a window. It is counted by the hour, and only where agents
// watch TLS.
type TLS struct {
	Connections uint64 `json:"connections"` // all, with TLS or without
	Full        uint64 `json:"full"`        // the whole handshake
	Resumed     uint64 `json:"resumed"`     // a resumption that tells whose session it was
	Inferred    uint64 `json:"inferred"`    // a resumption, known by the last full handshake
	WireOnly    uint64 `json:"wire_only"`   // only what the wire shows: never the certificates of TLS 1.3
	Failed      uint64 `json:"failed"`      // the handshake failed
	None        uint64 `json:"none"`        // no handshake was seen
}

// NodeTLS is what a node saw of TLS, and could not see.
type NodeTLS struct {
	TLS
	Stacks map[string]uint64 `json:"stacks"` // files that were watched at a time, by library and version; never nil
	Blind  []string          `json:"blind"`  // in words; never nil
}

func (t *TLS) add(c store.TLSCounts) {
	t.Connections += c.Connections
	t.Full += c.Full
	t.Resumed += c.Resumed
	t.Inferred += c.Inferred
	t.WireOnly += c.WireOnly
	t.Failed += c.Failed
	seen := c.Full + c.Resumed + c.Inferred + c.WireOnly + c.Failed
	t.None += c.Connections - min(seen, c.Connections)
}

func (t *TLS) join(o *TLS) {
	t.Connections += o.Connections
	t.Full += o.Full
	t.Resumed += o.Resumed
	t.Inferred += o.Inferred
	t.WireOnly += o.WireOnly
	t.Failed += o.Failed
	t.None += o.None
}

// nodeTLS puts together what the starts of a node's agent saw; nil where none of them watched TLS. What they could not watch at all stands in missing.
func nodeTLS(boots []store.Watched, missing []string) *NodeTLS {
	var out *NodeTLS
	for i := range boots {
		seen := boots[i].TLS
		if seen == nil {
			continue
		}
		if out == nil {
			out = &NodeTLS{Stacks: map[string]uint64{}, Blind: []string{}}
		}
		out.add(seen.Counts)
		for name, files := range seen.Stacks {
			out.Stacks[name] = max(out.Stacks[name], files)
		}
	}
	if out == nil {
		return nil
	}
	for _, what := range missing {
		if strings.Contains(what, "TLS") {
			out.Blind = append(out.Blind, what)
		}
	}
	if out.WireOnly > 0 {
		out.Blind = append(out.Blind, fmt.Sprintf("%s seen on the wire only, which shows no certificate of TLS 1.3", connections(out.WireOnly)))
	}
	if out.Inferred > 0 {
		out.Blind = append(out.Blind, fmt.Sprintf("%s resumed without telling the peer: it is taken from the last full handshake", connections(out.Inferred)))
	}
	return out
}

func connections(n uint64) string {
	if n == 1 {
		return "1 connection"
	}
	return thousands(n) + " connections"
}

// state says it in a sentence, or nothing where there is nothing to say.
func (t *TLS) state() string {
	if t == nil || t.Connections == 0 {
		return ""
	}
	return fmt.Sprintf(" TLS: of %s, handshakes of %s were seen in full, %s resumed, %s inferred, %s on the wire only, %s failed; of %s none was seen.",
		connections(t.Connections), thousands(t.Full), thousands(t.Resumed), thousands(t.Inferred), thousands(t.WireOnly), thousands(t.Failed), thousands(t.None))
}
