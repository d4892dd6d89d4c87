package agent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Each cause in what was lost makes coverage incomplete, so nothing else must be among them.
func TestHeartbeatTellsWhatIsMissingAndLost(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	a, err := New(Config{
		Node: "n1", TrustDomain: td, CgroupRoot: t.TempDir(), Missing: func() []string { return []string{"renewal of its certificate"} },
	}, new(nats.Conn))
	check(t, err)
	defer a.translations.Close()
	a.kernel = new(bpf.Kernel)
	a.ledger = newLedger(nil, a, "n1", nil)
	// Nothing of this kind is under way.
	local, dialled := netip.MustParseAddrPort("192.0.2.7:40000"), netip.MustParseAddrPort("192.0.2.8:80")
	a.translations.Backend(local, dialled, unix.IPPROTO_TCP)

	h := a.heartbeat(start.wall)
	if !slices.Contains(h.Missing, "renewal of its certificate") {
		t.Errorf("missing %q", h.Missing)
	}
	for _, name := range []string{"translation-found", "translation-none", "translation-unknown", "dns-names-collapsed"} {
		if _, ok := h.Gauges[name]; !ok || h.Lost[name] != 0 {
			t.Errorf("%s is not told as what it is: %v, %v", name, h.Gauges, h.Lost)
		}
	}
	delete(h.Lost, "translation-failed") // without rights, or a connection tracker
	if len(h.Lost) > 0 {
		t.Errorf("lost %v, though nothing was", h.Lost)
	}
}
