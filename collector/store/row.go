package store

import (
	"errors"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// ObservationRow is a row of observations. [RowOf] makes it.
type ObservationRow struct {
	BatchTime time.Time `ch:"batch_time"`
	Sequence  uint64    `ch:"sequence"`
	Node      string    `ch:"node"`
	Time      time.Time `ch:"time"`
	FirstTime time.Time `ch:"first_time"`

	workloadRow

	Direction string `ch:"direction"`
	Protocol  string `ch:"protocol"`
	Resource  string `ch:"resource"`

	PeerAddress    netip.Addr `ch:"peer_address"`
	PeerPort       uint16     `ch:"peer_port"`
	PeerRange      string     `ch:"peer_range"`
	DialledAddress netip.Addr `ch:"dialled_address"`
	DialledPort    uint16     `ch:"dialled_port"`
	PeerName       string     `ch:"peer_name"`
	PeerNameSource string     `ch:"peer_name_source"`
	PeerIdentity   string     `ch:"peer_identity"`
	PeerEvidence   string     `ch:"peer_evidence"`

	TLSVersion       string    `ch:"tls_version"`
	TLSSNI           string    `ch:"tls_sni"`
	TLSALPN          string    `ch:"tls_alpn"`
	TLSMutual        bool      `ch:"tls_mutual"`
	TLSVerified      bool      `ch:"tls_verified"`
	TLSProvenance    string    `ch:"tls_provenance"`
	TLSPeerSHA256    string    `ch:"tls_peer_sha256"`
	TLSPeerSerial    string    `ch:"tls_peer_serial"`
	TLSPeerIssuer    string    `ch:"tls_peer_issuer"`
	TLSPeerNotBefore time.Time `ch:"tls_peer_not_before"`
	TLSPeerNotAfter  time.Time `ch:"tls_peer_not_after"`
	TLSPeerProven    bool      `ch:"tls_peer_proven"`
	TLSOwnSHA256     string    `ch:"tls_own_sha256"`
	TLSOwnSerial     string    `ch:"tls_own_serial"`
	TLSOwnIssuer     string    `ch:"tls_own_issuer"`
	TLSOwnNotBefore  time.Time `ch:"tls_own_not_before"`
	TLSOwnNotAfter   time.Time `ch:"tls_own_not_after"`
	TLSOwnProven     bool      `ch:"tls_own_proven"`

	Connections   uint64 `ch:"connections"`
	Failed        uint64 `ch:"failed"`
	Denied        uint64 `ch:"denied"`
	BytesSent     uint64 `ch:"bytes_sent"`
	BytesReceived uint64 `ch:"bytes_received"`
	LastError     string `ch:"last_error"`
}

// workloadRow are the columns that say who, the same in every table that has them.
type workloadRow struct {
	Identity       string `ch:"identity"`
	Evidence       string `ch:"evidence"`
	Namespace      string `ch:"namespace"`
	Pod            string `ch:"pod"`
	Container      string `ch:"container"`
	Image          string `ch:"image"`
	ServiceAccount string `ch:"service_account"`
	Owner          string `ch:"owner"`
	Unit           string `ch:"unit"`
	Executable     string `ch:"executable"`
	Interactive    bool   `ch:"interactive"`
	Cgroup         string `ch:"cgroup"`
	UID            uint32 `ch:"uid"`
	Unattributed   string `ch:"unattributed"`
}

func workloadRowOf(w *event.Workload) workloadRow {
	return workloadRow{
		Identity: w.Identity.String(), Evidence: string(w.Evidence), Namespace: w.Namespace, Pod: w.Pod, Container: w.Container,
		Image: w.Image, ServiceAccount: w.ServiceAccount, Owner: w.Owner, Unit: w.Unit, Executable: w.Executable,
		Interactive: w.Interactive, Cgroup: w.Cgroup, UID: w.UID, Unattributed: string(w.Unattributed),
	}
}

func (r *workloadRow) workload() (event.Workload, error) {
	id, err := event.ParseIdentity(r.Identity)
	return event.Workload{
		Identity: id, Evidence: event.Evidence(r.Evidence), Namespace: r.Namespace, Pod: r.Pod, Container: r.Container,
		Image: r.Image, ServiceAccount: r.ServiceAccount, Owner: r.Owner, Unit: r.Unit, Executable: r.Executable,
		Interactive: r.Interactive, Cgroup: r.Cgroup, UID: r.UID, Unattributed: event.Unattributed(r.Unattributed),
	}, err
}

// RowOf makes the row of an observation that came in a message: batchTime is the end of the batch's interval, sequence the number of the
// message in the stream. The row shares the observation's strings and nothing else.
func RowOf(o *event.Observation, batchTime time.Time, sequence uint64) ObservationRow {
	r := ObservationRow{
		BatchTime: batchTime, Sequence: sequence, Node: o.Node, Time: o.Time, FirstTime: o.First(),
		workloadRow: workloadRowOf(&o.Workload),
		Direction:   string(o.Direction), Protocol: string(o.Protocol), Resource: event.ResourceOf(o).String(),
		PeerAddress: address(o.Peer.Address), PeerPort: o.Peer.Port, PeerRange: prefix(o.Peer.Range),
		DialledAddress: address(o.Peer.Dialled.Addr()), DialledPort: o.Peer.Dialled.Port(),
		PeerName: o.Peer.Name, PeerNameSource: string(o.Peer.NameSource),
		PeerIdentity: o.Peer.Identity.String(), PeerEvidence: string(o.Peer.Evidence),
		Connections: o.Counts.Connections, Failed: o.Counts.Failed, Denied: o.Counts.Denied,
		BytesSent: o.Counts.BytesSent, BytesReceived: o.Counts.BytesReceived, LastError: o.Error,
		TLSPeerNotBefore: never, TLSPeerNotAfter: never, TLSOwnNotBefore: never, TLSOwnNotAfter: never,
	}
	if t := o.TLS; t != nil {
		r.TLSVersion, r.TLSSNI, r.TLSALPN, r.TLSMutual, r.TLSVerified, r.TLSProvenance = t.Version, t.SNI, t.ALPN, t.Mutual, t.Verified, t.Provenance
		if c := t.PeerCertificate; c != nil {
			r.TLSPeerSHA256, r.TLSPeerSerial, r.TLSPeerIssuer = c.SHA256, c.Serial, c.Issuer
			r.TLSPeerNotBefore, r.TLSPeerNotAfter = certificateTime(c.NotBefore), certificateTime(c.NotAfter)
			r.TLSPeerProven = c.Proven
		}
		if c := t.OwnCertificate; c != nil {
			r.TLSOwnSHA256, r.TLSOwnSerial, r.TLSOwnIssuer = c.SHA256, c.Serial, c.Issuer
			r.TLSOwnNotBefore, r.TLSOwnNotAfter = certificateTime(c.NotBefore), certificateTime(c.NotAfter)
			r.TLSOwnProven = c.Proven
		}
	}
	return r
}

// address writes IPv4 as the column keeps it; the zero address becomes ::.
func address(a netip.Addr) netip.Addr {
	return netip.AddrFrom16(a.WithZone("").As16())
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// The database has no time without a value: 1970 stands for never.
var (
	never        = time.Unix(0, 0).UTC()
	earliestTime = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	latestTime   = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certificateTime brings dates that certificates really hold, such as the year 9999, within what the database can.
func certificateTime(t time.Time) time.Time {
	switch {
	case t.IsZero():
		return never
	case t.Before(earliestTime):
		return earliestTime
	case t.After(latestTime):
		return latestTime
	}
	return t
}

// check refuses rows that no valid observation makes: they would be found by nobody, or poison the sums of a view.
func (r *ObservationRow) check() error {
	switch {
	case r.Identity == "":
		return errors.New("identity is missing")
	case r.Resource == "":
		return errors.New("resource is missing")
	case r.Direction != string(event.Outbound) && r.Direction != string(event.Inbound):
		return errors.New("direction is neither outbound nor inbound")
	}
	for _, t := range []time.Time{r.BatchTime, r.Time, r.FirstTime} {
		if t.Before(earliestTime) || t.After(latestTime) {
			return errors.New("a time is missing or not plausible")
		}
	}
	return nil
}
