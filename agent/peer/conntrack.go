package peer

import (
	"errors"
	"net/netip"
	"os"
	"sync"

	"github.com/ti-mo/conntrack"
)

// Translations asks the kernel's connection tracker where netfilter (kube-proxy, for one) turned a connection: in the network namespace of the
// process, which is where it must be done. It is safe for concurrent use; the zero value is ready.
type Translations struct {
	mu     sync.Mutex
	conn   *conntrack.Conn // nil until the first question, and after an error
	counts struct{ found, untranslated, unknown, failed uint64 }
}

// NewTranslations asks nothing yet.
func NewTranslations() *Translations { return &Translations{} }

// Backend gives where the connection from local to dialled really leads, if it was translated and the tracker still knows: it forgets a TCP connection
// two minutes after its end. Protocol is an IPPROTO_*.
func (t *Translations) Backend(local, dialled netip.AddrPort, protocol uint8) (netip.AddrPort, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	flow, err := t.get(conntrack.NewFlow(protocol, 0, local.Addr().Unmap(), dialled.Addr().Unmap(), local.Port(), dialled.Port(), 0, 0))
	switch {
	case errors.Is(err, os.ErrNotExist):
		t.counts.unknown++
		return netip.AddrPort{}, false
	case err != nil:
		t.counts.failed++
		return netip.AddrPort{}, false
	}
	// The answers come from where the questions went.
	backend := netip.AddrPortFrom(flow.TupleReply.IP.SourceAddress.Unmap(), flow.TupleReply.Proto.SourcePort)
	if !backend.IsValid() || backend == netip.AddrPortFrom(dialled.Addr().Unmap(), dialled.Port()) {
		t.counts.untranslated++
		return netip.AddrPort{}, false
	}
	t.counts.found++
	return backend, true
}

// get asks, and lets go of a connection that failed: the next question makes another.
func (t *Translations) get(flow conntrack.Flow) (conntrack.Flow, error) {
	if t.conn == nil {
		var err error
		if t.conn, err = conntrack.Dial(nil); err != nil {
			return conntrack.Flow{}, err
		}
	}
	flow, err := t.conn.Get(flow)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.conn.Close()
		t.conn = nil
	}
	return flow, err
}

// Counters are how the questions ended, growing only.
func (t *Translations) Counters() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return map[string]uint64{
		"translation-found": t.counts.found, "translation-none": t.counts.untranslated,
		"translation-unknown": t.counts.unknown, "translation-failed": t.counts.failed,
	}
}

// Close lets go of the connection to the kernel. A later question makes another.
func (t *Translations) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return nil
	}
	err := t.conn.Close()
	t.conn = nil
	return err
}
