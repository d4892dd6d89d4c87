package world

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Names that mean harm: to a page that writes them as HTML or into an attribute, to a terminal, and to the eye.
var (
	HostileHTML  = `<img src=x onerror="document.title='owned'">`
	HostileQuote = `"'></script><script>document.title='owned'</script>`
	HostileTurn  = "gpj.\u202Etxt.exe" // turned around, it ends otherwise
	HostileCode  = "\x1b]0;owned\x07\u200b\u2066x"
)

// harm adds workloads whose names mean harm, and the findings about them.
func (f *filler) harm() {
	const node = "n01"
	who := []event.Identity{
		event.CertificateIdentity([]byte("an issuer"), "CN="+HostileHTML+",O="+HostileTurn),
		event.ProcessIdentity(trustDomain(), node, 33, HostileQuote),
	}
	for i, id := range who {
		w := event.Workload{
			Identity: id, Evidence: event.EvidenceProcess, Namespace: HostileHTML, Pod: HostileQuote, Container: HostileCode, ServiceAccount: HostileTurn,
			Image: "registry.example/" + HostileHTML, Owner: "Deployment/" + HostileQuote, Unit: HostileTurn, Executable: "/tmp/" + HostileHTML,
		}
		names := []string{HostileHTML, HostileTurn, HostileQuote, HostileCode}
		var resource event.Resource
		for j, name := range names {
			o := event.Observation{
				Time: f.now.Add(-time.Duration(len(names)-j+i) * time.Minute), Node: node, Workload: w, Direction: event.Outbound, Protocol: event.TCP,
				Peer:   event.Peer{Address: netip.MustParseAddr("2001:db8::bad"), Port: uint16(4000 + j), Name: name, NameSource: event.NameDNS},
				Counts: event.Counts{Connections: 3, BytesSent: 900, BytesReceived: 10},
			}
			resource = event.ResourceOf(&o)
			if f.observe(o) != nil {
				return // the next insert says it
			}
		}
		x := event.Finding{
			ID: event.FindingID(id, "new-reach", resource), Rule: "new-reach", Title: "New reach of " + HostileHTML, Severity: []event.Severity{event.High, event.Critical}[i], Score: .9,
			Confidence: .8, Identity: id, Resource: resource, Workload: w, Node: HostileHTML, FirstTime: f.now.Add(-5 * time.Minute), LastTime: f.now.Add(-time.Duration(i+1) * time.Minute),
			Count: 3, Explanation: []string{"It reached " + HostileQuote + " for the first time.", "Its program is " + HostileTurn + HostileCode + "."}, Baseline: []string{HostileHTML},
			Advice: []string{"Ask " + HostileHTML + "."}, OWASP: []string{"NHI5:2025"}, Attack: []string{"T1021"}, Status: event.StatusNew,
		}
		f.findings[x.ID] = x
		f.hostile = append(f.hostile, x.ID)
	}
}

func trustDomain() event.TrustDomain {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		panic(err) // a constant
	}
	return td
}
