package agent

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/agent/tlsprobe"
	"github.com/ambit-nhi/ambit/agent/tlswire"
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

// A heartbeat that its receiver refuses says that nobody watches here. What all parts of an agent have to tell fits, with room for more.
func TestHeartbeatOfAFullAgentFits(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "config")
	check(t, os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"a","clusters":[{"name":"a","cluster":{"server":"https://127.0.0.1:1"}}],
		"contexts":[{"name":"a","context":{"cluster":"a","user":""}}]}`), 0o600))
	const many = 300
	missing := func() (lines []string) {
		for range many {
			lines = append(lines, strings.Repeat("TLS of \xff ", many))
		}
		return lines
	}
	a, err := New(Config{
		Node: "n1", TrustDomain: td, CgroupRoot: t.TempDir(), Kubernetes: &kube.Config{Kubeconfig: kubeconfig, Node: "n1"}, Engines: []string{"/nowhere.sock"}, Missing: missing,
	}, new(nats.Conn))
	check(t, err)
	defer a.translations.Close()
	a.kernel, a.ledger = new(bpf.Kernel), newLedger(nil, a, "n1", nil)
	find := tlsprobe.Default()
	find.Attach = func(string, bpf.Target) (io.Closer, error) { return nil, errors.New("nothing is attached") }
	finder, err := tlsprobe.New(find)
	check(t, err)
	a.tls = &tlsWatch{probes: new(bpf.TLS), streams: tlswire.New(tlswire.Config{}), tracker: handshake.New(handshake.Config{}), finder: finder, cfg: TLSConfig{Missing: missing}}
	h := a.heartbeat(start.wall)

	// Every cause at once, with those of the kernel side and of stacks, which are not there without it.
	const kernel, stacks, bound = 18 + 6, 25, 128
	for cause := range a.losses.told {
		h.Lost[cause] = 1
	}
	if n := len(h.Lost) + kernel; n > bound*3/4 || n < 60 {
		t.Errorf("%d causes of losses", n)
	}
	if n := len(h.Gauges) + stacks; n > bound*3/4 || n < 60 {
		t.Errorf("%d gauges", n)
	}
	h.Node, h.Boot, h.Started = "n1", "b", start.wall
	message, err := h.Encode()
	check(t, err)
	got, err := event.DecodeHeartbeat(message)
	check(t, err)
	if want := fmt.Sprintf("%d things more", 2*many-maxMissing); got.Missing[len(got.Missing)-1] != want {
		t.Errorf("%d sentences, the last is %q, want %q", len(got.Missing), got.Missing[len(got.Missing)-1], want)
	}
}
