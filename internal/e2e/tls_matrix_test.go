package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/tlsstacks"
)

// blind is what is not told of some connections, and why. It is the whole list: what is missing elsewhere is a fault, and so is an entry that is never
// needed. What is told wrongly is a fault everywhere.
type blind struct {
	stacks, role, version, kind string // of which connections; empty or a prefix: of all such
	what                        []string
	why                         string
}

// What can be missing of a connection.
const (
	tuple    = "tuple"
	probed   = "probed" // all that only probes tell: certificates, identities, that it was verified
	resuming = "session"
	alpn     = "ALPN"
	sni      = "SNI"
)

var blinds = []blind{
	{stacks: "java", what: []string{probed, resuming}, why: "JSSE has no functions to probe: the wire only"},
	{stacks: "java", version: "1.3", what: []string{alpn}, why: "encrypted, and JSSE has no functions to probe"},
	{stacks: "openssl", role: "server", what: []string{probed, resuming}, why: "s_server -www drives its handshakes by BIO_f_ssl, which calls no exported function"},
	{stacks: "openssl", role: "server", version: "1.3", what: []string{alpn}, why: "s_server -www drives its handshakes by BIO_f_ssl, which calls no exported function"},
	{stacks: "openssl", role: "client", kind: "resumed", what: []string{resuming}, why: "a process for each connection: nothing says whose session a file holds"},
}

func (b *blind) covers(c *tlsstacks.Connection, what string) bool {
	return strings.HasPrefix(c.Stack, b.stacks) && strings.HasPrefix(roleOf(c), b.role) && strings.HasPrefix(c.Version, b.version) &&
		strings.HasPrefix(kindOf(c), b.kind) && slices.Contains(b.what, what)
}

func roleOf(c *tlsstacks.Connection) string {
	if c.Client {
		return "client"
	}
	return "server"
}

func kindOf(c *tlsstacks.Connection) string {
	switch {
	case c.Failed:
		return "failed"
	case c.Burst:
		return "burst"
	case c.Resumed:
		return "resumed"
	}
	return "full"
}

// TestKernelTLSMatrix holds what is seen of handshakes against what the programs know: each stack, as client and server, by TLS 1.2 and 1.3, with full
// handshakes and resumed ones, certificates of all kinds, and many handshakes at once.
func TestKernelTLSMatrix(t *testing.T) {
	testenv.RequireKernel(t)
	stage := tlsstacks.NewStage(t)
	o := observe(t, tlsstacks.TrustDomain, stage.Material.Roots)
	libraries := o.holdOpenSSL(t)
	o.await(t, stage.Server.PID, "exe")
	table := map[string]*cell{}
	used := map[int]bool{}
	started := time.Now()
	played := map[string]bool{}
	for _, stack := range tlsstacks.Stacks() {
		t.Run(stack.Name, func(t *testing.T) {
			stack.Require(t)
			begun := time.Now()
			files := libraries
			started := func(pid int, once func()) {
				if stack.Probed == "" {
					return
				}
				if pid != 0 {
					files = o.filesOf(t, pid, stack.Probed)
				}
				o.awaitTimes(t, files, 1)
				more := files
				if !stack.InMemory { // what is below libssl tells nothing more then, and all who use it would pay
					more = files[:1]
				}
				if stack.Thorough && !o.probedTimes(more, 2) { // a handshake that only the wire shows has the rest of the functions probed
					once()
					o.awaitTimes(t, more, 2)
				}
			}
			for _, play := range []func() []tlsstacks.Connection{
				func() []tlsstacks.Connection {
					if stack.Listen == nil {
						return nil
					}
					return stage.PlayServer(t, stack, started)
				},
				func() []tlsstacks.Connection {
					if stack.Start == nil {
						return nil
					}
					return stage.PlayClient(t, stack, started)
				},
			} {
				o.take()
				o.check(t, play(), table, used)
			}
			played[stack.Name] = true
			t.Logf("%v", time.Since(begun).Round(10*time.Millisecond))
		})
	}
	printTable(t, table)
	t.Logf("%v in all", time.Since(started).Round(time.Second))
	if t.Failed() {
		o.lock.Lock()
		t.Logf("lost: %v, %v", o.counters, o.losses)
		o.lock.Unlock()
		losses, err := o.kernel.Losses()
		t.Logf("lost by the kernel's side: %v, %v", losses, err)
		t.Logf("missing: %q", o.finder.Missing())
	}
	for i, b := range blinds {
		needed := slices.ContainsFunc(slices.Collect(maps.Keys(played)), func(name string) bool { return strings.HasPrefix(name, b.stacks) })
		if !used[i] && needed && !t.Failed() {
			t.Errorf("declared blind and not so: %+v", b)
		}
	}
}

// cell is what came of connections of one sort.
type cell struct {
	right, blind, wrong int
	why                 map[string]bool
}

// check waits until all connections were told, and compares.
func (o *observer) check(t *testing.T, all []tlsstacks.Connection, table map[string]*cell, used map[int]bool) {
	t.Helper()
	const most = 5 * time.Second
	var seen []handshake.Handshake
	var faults []map[string]string
	for deadline := time.Now().Add(most); ; time.Sleep(50 * time.Millisecond) {
		seen = append(seen, o.take()...)
		faults = compareAll(all, seen)
		open := 0
		for i := range all {
			for what := range faults[i] {
				if declared(&all[i], what) < 0 {
					open++
				}
			}
		}
		if open == 0 || time.Now().After(deadline) {
			break
		}
	}
	shown := 0
	for i := range all {
		c := &all[i]
		key := strings.Join([]string{c.Stack, roleOf(c), c.Version, kindOf(c)}, "\t")
		x := table[key]
		if x == nil {
			x = &cell{why: map[string]bool{}}
			table[key] = x
		}
		wrong, blind := false, false
		for _, what := range slices.Sorted(maps.Keys(faults[i])) {
			if n := declared(c, what); n >= 0 {
				used[n], blind = true, true
				x.why[what+": "+blinds[n].why] = true
				continue
			}
			wrong = true
			if shown++; shown <= 12 {
				t.Errorf("%s %s, %s by TLS %s, %s: %s: %s", c.Stack, roleOf(c), c.Case, c.Version, kindOf(c), what, faults[i][what])
			}
		}
		switch {
		case wrong:
			x.wrong++
		case blind:
			x.blind++
		default:
			x.right++
		}
	}
	if shown > 12 {
		t.Errorf("and %d more faults", shown-12)
	}
}

func declared(c *tlsstacks.Connection, what string) int {
	return slices.IndexFunc(blinds, func(b blind) bool { return b.covers(c, what) })
}

type ends struct{ local, remote netip.AddrPort }

type named struct {
	sni    string
	client bool
}

// compareAll gives the faults of each connection, by what is at fault.
func compareAll(all []tlsstacks.Connection, seen []handshake.Handshake) []map[string]string {
	byEnds, byName := map[ends][]*handshake.Handshake{}, map[named][]*handshake.Handshake{}
	for i := range seen {
		h := &seen[i]
		if h.Local.IsValid() && h.Remote.IsValid() {
			e := ends{unmapped(h.Local), unmapped(h.Remote)}
			byEnds[e] = append(byEnds[e], h)
		} else {
			n := named{h.TLS.SNI, h.Client}
			byName[n] = append(byName[n], h)
		}
	}
	out := make([]map[string]string, len(all))
	for i := range all {
		c := &all[i]
		out[i] = map[string]string{}
		var h *handshake.Handshake
		// A port may serve twice in a burst; names are different then.
		if list := byEnds[ends{c.Local, c.Remote}]; len(list) > 0 {
			h = list[max(0, slices.IndexFunc(list, func(h *handshake.Handshake) bool { return h.TLS.SNI == c.SNI }))]
		} else {
			n := named{c.SNI, c.Client}
			if list := byName[n]; len(list) > 0 {
				h, byName[n] = list[0], list[1:]
			}
		}
		compareTLS(c, h, func(what, format string, args ...any) { out[i][what] = fmt.Sprintf(format, args...) })
	}
	return out
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func compareTLS(c *tlsstacks.Connection, h *handshake.Handshake, fault func(what, format string, args ...any)) {
	switch {
	case h == nil && c.Failed: // a handshake that did not come about need not be told
		return
	case h == nil:
		fault("seen", "nothing was")
		return
	case c.Failed:
		// Clients complete handshakes before servers refuse them, and nginx refuses only requests. But nobody is known by them.
		if !c.Client && (!h.Peer.IsZero() || h.TLS.Verified) || c.Client && c.Case == "refused" && (!h.Peer.IsZero() || h.TLS.Verified) {
			fault("seen", "it failed and is told as %+v of %s", h.TLS, h.Peer)
		}
		return
	}
	blindTo := h.TLS.Provenance == "wire-only"
	if !h.OK {
		fault("seen", "as one that failed: %+v", h.TLS)
	}
	if h.Client != c.Client {
		fault("role", "client is %t", h.Client)
	}
	if (ends{unmapped(h.Local), unmapped(h.Remote)}) != (ends{c.Local, c.Remote}) {
		fault(tuple, "it is %s to %s and must be %s to %s", h.Local, h.Remote, c.Local, c.Remote)
	}
	if h.TLS.Version != c.Version {
		fault("version", "it is %q", h.TLS.Version)
	}
	if h.TLS.SNI != c.SNI {
		fault(sni, "it is %q and must be %q", h.TLS.SNI, c.SNI)
	}
	switch {
	case h.TLS.ALPN == "" && c.ALPN != "":
		fault(alpn, "it is not told and is %q", c.ALPN)
	case h.TLS.ALPN != c.ALPN:
		fault("wrong ALPN", "it is %q and must be %q", h.TLS.ALPN, c.ALPN)
	}
	switch {
	case blindTo && c.Resumed:
		fault(resuming, "nothing is told of it")
	case blindTo:
		fault(probed, "no probe told of it")
	case c.Resumed != (h.TLS.Provenance == "resumed" || h.TLS.Provenance == "inferred"):
		fault("provenance", "it is %q and resumed is %t", h.TLS.Provenance, c.Resumed)
	}
	certificate(c.Peer, h.TLS.PeerCertificate, h.Peer, !blindTo, "peer", fault)
	certificate(c.Own, h.TLS.OwnCertificate, h.Own, !blindTo && !c.Resumed, "own", fault)
	if blindTo {
		return
	}
	if mutual := c.Own.SHA256 != "" && c.Peer.SHA256 != ""; h.TLS.Mutual != mutual && !c.Resumed {
		fault("mutual", "it is %t", h.TLS.Mutual)
	}
	doubtful := c.Case == "any expired" || c.Case == "any foreign"
	if presented := c.Peer.SHA256 != ""; h.TLS.Verified && doubtful || !h.TLS.Verified && presented && !c.Resumed && !strings.HasPrefix(c.Case, "any ") {
		fault("verified", "it is %t", h.TLS.Verified)
	}
}

// certificate compares one end's. Where it need not be there, it must not be another one all the same.
func certificate(want tlsstacks.Identity, got *event.Certificate, id event.Identity, needed bool, whose string, fault func(what, format string, args ...any)) {
	switch {
	case got == nil && want.SHA256 != "" && needed:
		fault(whose+" certificate", "it is not told")
	case got != nil && got.SHA256 != want.SHA256:
		fault("wrong "+whose+" certificate", "it is %s and must be %q of %q", got.SHA256, want.SHA256, want.ID)
	case got != nil && (!got.NotAfter.Equal(want.Leaf.NotAfter) || !got.NotBefore.Equal(want.Leaf.NotBefore)):
		fault("wrong "+whose+" certificate", "it is valid from %s to %s", got.NotBefore, got.NotAfter)
	}
	text := id.String()
	switch {
	case id.IsZero() && want.ID != "" && needed:
		fault(whose+" identity", "it is not told and is %s", want.ID)
	case id.IsZero() || text == want.ID:
	case want.ID == "" && want.SHA256 != "" && strings.HasPrefix(text, "x509://"): // a client without SPIFFE id, whom the server verified
	default:
		fault("wrong "+whose+" identity", "it is %s and must be %q", text, want.ID)
	}
}

func printTable(t *testing.T, table map[string]*cell) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "stack\trole\tTLS\thandshakes\tright\tblind\twrong\twhy")
	for _, key := range slices.Sorted(maps.Keys(table)) {
		x := table[key]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", key, x.right, x.blind, x.wrong, strings.Join(slices.Sorted(maps.Keys(x.why)), "; "))
	}
	w.Flush()
	t.Logf("\n%s", text.String())
}
