package event

import (
	"errors"
	"fmt"
)

// Bounds of the texts in what comes from outside. A batch holds a text once and its records refer to it as often as they like, so what a
// receiver has to write out is bounded apart from the message: a builder that is full stays below half of it.
const (
	maxText    = 4096     // bytes; paths are the longest (PATH_MAX), identities have a bound of their own
	maxNode    = 253      // bytes, as of a host name
	maxBoot    = 64       // bytes
	maxWritten = 64 << 20 // bytes of texts, if every record of a batch were written out
)

// maxCount is the largest number that a message may count. Sums of these do not wrap before there are thousands of them, and JSON readers hold
// it exactly.
const maxCount = 1 << 53

func (c *Counts) plausible() bool {
	return max(c.Connections, c.Failed, c.Denied, c.BytesSent, c.BytesReceived) <= maxCount
}

// textBytes is the length of all texts together. It fails if one of them is too long.
func textBytes(texts ...string) (int, error) {
	sum := 0
	for _, s := range texts {
		if len(s) > maxText {
			return 0, fmt.Errorf("a text that begins with %q is longer than %d bytes", s[:32], maxText)
		}
		sum += len(s)
	}
	return sum, nil
}

func (w *Workload) textBytes() (int, error) {
	return textBytes(w.Identity.uri, string(w.Evidence), w.Namespace, w.Pod, w.Container, w.Image, w.ServiceAccount, w.Owner, w.Unit,
		w.Executable, w.Cgroup, string(w.Unattributed))
}

func (p *Peer) textBytes() (int, error) {
	return textBytes(p.Address.Zone(), p.Dialled.Addr().Zone(), p.Name, string(p.NameSource), p.Identity.uri, string(p.Evidence))
}

func (t *TLS) textBytes() (int, error) {
	if t == nil {
		return 0, nil
	}
	sum, err := textBytes(t.Version, t.SNI, t.ALPN, t.Provenance)
	for _, c := range []*Certificate{t.PeerCertificate, t.OwnCertificate} {
		if c == nil || err != nil {
			continue
		}
		var n int
		n, err = textBytes(c.SHA256, c.Serial, c.Issuer)
		sum += n
	}
	return sum, err
}

// checkSource checks the names of who sent a message.
func checkSource(node, boot string) error {
	switch {
	case node == "" || boot == "":
		return errors.New("node or boot is missing")
	case len(node) > maxNode || len(boot) > maxBoot:
		return fmt.Errorf("node or boot is longer than %d or %d bytes", maxNode, maxBoot)
	}
	return nil
}
