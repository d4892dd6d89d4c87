package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// Direction is who opened the connection, seen from the workload.
type Direction string

// The directions.
const (
	Outbound Direction = "outbound" // the workload reaches the peer
	Inbound  Direction = "inbound"  // the peer reaches the workload
)

// NameSource is where a peer's name comes from.
type NameSource string

// The sources of names.
const (
	NameDNS     NameSource = "dns"     // an answer that this very workload received
	NameService NameSource = "service" // the Kubernetes API
	NameSNI     NameSource = "sni"     // the server name in the TLS hello
	NameNode    NameSource = "node"    // a node's own address; its name
)

func (s NameSource) valid() bool {
	return s == "" || s == NameDNS || s == NameService || s == NameSNI || s == NameNode
}

// Observation is what one workload did toward one peer, or received from it, in one interval. Its JSON form is a promise to other
// programs: empty fields are left out, unknown ones are errors. The CBOR numbers of the parts it is made of never change meaning.
type Observation struct {
	Time      time.Time `json:"time"`                 // end of the interval
	FirstTime time.Time `json:"first_time,omitzero"`  // when the edge was first used in the interval; zero is Time
	Node      string    `json:"node,omitempty"`       // where it was seen
	Workload  Workload  `json:"workload"`             // who
	Direction Direction `json:"direction"`            //
	Protocol  Protocol  `json:"protocol"`             //
	Peer      Peer      `json:"peer"`                 // the other end
	TLS       *TLS      `json:"tls,omitempty"`        // nil where no handshake was seen
	Counts    Counts    `json:"counts,omitzero"`      // in this interval
	Error     string    `json:"last_error,omitempty"` // class of the last failed connect: refused, timeout, unreachable, reset, canceled, other
}

// Workload is the running thing on a node behind an identity.
type Workload struct {
	Identity       Identity `json:"identity" cbor:"1,keyasint"`
	Evidence       Evidence `json:"evidence,omitempty" cbor:"2,keyasint,omitempty"`
	Namespace      string   `json:"namespace,omitempty" cbor:"3,keyasint,omitempty"`
	Pod            string   `json:"pod,omitempty" cbor:"4,keyasint,omitempty"`
	Container      string   `json:"container,omitempty" cbor:"5,keyasint,omitempty"`
	Image          string   `json:"image,omitempty" cbor:"6,keyasint,omitempty"`
	ServiceAccount string   `json:"service_account,omitempty" cbor:"7,keyasint,omitempty"`
	Owner          string   `json:"owner,omitempty" cbor:"8,keyasint,omitempty"` // root controller, as Kind/name
	Unit           string   `json:"unit,omitempty" cbor:"9,keyasint,omitempty"`
	Executable     string   `json:"executable,omitempty" cbor:"10,keyasint,omitempty"`
	Interactive    bool     `json:"interactive,omitempty" cbor:"11,keyasint,omitempty"` // a terminal was attached
	Cgroup         string   `json:"cgroup,omitempty" cbor:"12,keyasint,omitempty"`      // path below the cgroup root
	UID            uint32   `json:"uid,omitempty" cbor:"13,keyasint,omitempty"`

	// Unattributed says why no better identity could be found, in one of a few words; empty where it could.
	Unattributed Unattributed `json:"unattributed,omitempty" cbor:"14,keyasint,omitempty"`
}

// Peer is the other end. Port is the service's port: the peer's own for outbound, the workload's for inbound.
type Peer struct {
	Address    netip.Addr     `json:"address,omitzero" cbor:"1,keyasint,omitzero"`
	Port       uint16         `json:"port,omitempty" cbor:"2,keyasint,omitempty"`
	Dialled    netip.AddrPort `json:"dialled,omitzero" cbor:"3,keyasint,omitzero"` // before translation, where it differs
	Name       string         `json:"name,omitempty" cbor:"4,keyasint,omitempty"`
	NameSource NameSource     `json:"name_source,omitempty" cbor:"5,keyasint,omitempty"`
	Identity   Identity       `json:"identity,omitzero" cbor:"6,keyasint,omitzero"`
	Evidence   Evidence       `json:"evidence,omitempty" cbor:"7,keyasint,omitempty"`
	Range      netip.Prefix   `json:"range,omitzero" cbor:"8,keyasint,omitzero"` // stands for the address in reach, where many nameless ones in it were reached
}

// rangeValid says whether the range, if there is one, holds the address.
func (p *Peer) rangeValid() bool {
	return p.Range == netip.Prefix{} || p.Range.Contains(p.Address.Unmap().WithZone(""))
}

// TLS is what is known of the handshake.
type TLS struct {
	Version         string       `json:"version,omitempty" cbor:"1,keyasint,omitempty"`
	SNI             string       `json:"sni,omitempty" cbor:"2,keyasint,omitempty"`
	ALPN            string       `json:"alpn,omitempty" cbor:"3,keyasint,omitempty"`
	Mutual          bool         `json:"mutual,omitempty" cbor:"4,keyasint,omitempty"`
	Verified        bool         `json:"verified,omitempty" cbor:"5,keyasint,omitempty"`
	Provenance      string       `json:"provenance,omitempty" cbor:"6,keyasint,omitempty"` // full, resumed, inferred, wire-only
	PeerCertificate *Certificate `json:"peer_certificate,omitempty" cbor:"7,keyasint,omitempty"`
	OwnCertificate  *Certificate `json:"own_certificate,omitempty" cbor:"8,keyasint,omitempty"`
}

// Certificate identifies an X.509 certificate; the certificate itself never leaves the node.
type Certificate struct {
	SHA256    string    `json:"sha256,omitempty" cbor:"1,keyasint,omitempty"` // of the DER form, in hex
	Serial    string    `json:"serial,omitempty" cbor:"2,keyasint,omitempty"`
	Issuer    string    `json:"issuer,omitempty" cbor:"3,keyasint,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero" cbor:"4,keyasint,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero" cbor:"5,keyasint,omitzero"`
	Proven    bool      `json:"proven,omitempty" cbor:"6,keyasint,omitempty"` // its identity is the end's: a valid SVID of a trust domain known here, in a handshake that completed
}

// normalise turns the dates to UTC and says whether they can be written in RFC 3339, which ends with the year 9999.
func (c *Certificate) normalise() bool {
	for _, t := range []*time.Time{&c.NotBefore, &c.NotAfter} {
		if !t.IsZero() {
			*t = t.UTC()
		}
		if y := t.Year(); y < 1 || y > 9999 {
			return false
		}
	}
	return true
}

// Counts are what happened in one interval. A connection counts in the interval in which it was tried or accepted, its bytes when it
// ends; a UDP connection is a connected socket that sent something, or one datagram of a socket that is not connected.
type Counts struct {
	Connections   uint64 `json:"connections,omitempty" cbor:"1,keyasint,omitempty"` // tried (outbound) or accepted (inbound)
	Failed        uint64 `json:"failed,omitempty" cbor:"2,keyasint,omitempty"`      // those of them that failed
	Denied        uint64 `json:"denied,omitempty" cbor:"3,keyasint,omitempty"`      // those of them that a decision stopped
	BytesSent     uint64 `json:"bytes_sent,omitempty" cbor:"4,keyasint,omitempty"`  // payload
	BytesReceived uint64 `json:"bytes_received,omitempty" cbor:"5,keyasint,omitempty"`
}

// Add adds other to c.
func (c *Counts) Add(other Counts) {
	c.Connections += other.Connections
	c.Failed += other.Failed
	c.Denied += other.Denied
	c.BytesSent += other.BytesSent
	c.BytesReceived += other.BytesReceived
}

// First is when the edge was first used in the interval.
func (o *Observation) First() time.Time {
	if o.FirstTime.IsZero() {
		return o.Time
	}
	return o.FirstTime
}

// Times outside of these bounds are no clock's honest reading, and would not fit the database's nanoseconds either.
var (
	earliest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Validate says what is wrong with an observation that came from outside, in one line.
func (o *Observation) Validate() error {
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	check(!o.Time.IsZero(), "time is missing")
	check(o.Time.IsZero() || o.Time.After(earliest) && o.Time.Before(latest), "time %s is not plausible", o.Time.Format(time.RFC3339))
	check(o.FirstTime.IsZero() || o.FirstTime.After(earliest) && !o.FirstTime.After(o.Time), "first_time is after time or not plausible")
	check(!o.Workload.Identity.IsZero(), "workload.identity is missing")
	check(o.Workload.Evidence == "" || o.Workload.Evidence.Strength() > 0, "workload.evidence %q is unknown", o.Workload.Evidence)
	check(o.Workload.Unattributed.valid(), "workload.unattributed %q is unknown", o.Workload.Unattributed)
	check(o.Peer.rangeValid(), "peer.range %s does not hold peer.address", o.Peer.Range)
	check(o.Direction == Outbound || o.Direction == Inbound, "direction %q is neither outbound nor inbound", o.Direction)
	check(o.Protocol.valid(), "protocol %q is neither tcp nor udp", o.Protocol)
	check(o.Peer.NameSource.valid(), "peer.name_source %q is not dns, service, sni or node", o.Peer.NameSource)
	check(o.Peer.Evidence == "" || o.Peer.Evidence.Strength() > 0, "peer.evidence %q is unknown", o.Peer.Evidence)
	check(o.Peer.Address.IsValid() || o.Peer.Name != "" || !o.Peer.Identity.IsZero(), "peer has neither address nor name nor identity")
	for _, size := range []func() (int, error){o.Workload.textBytes, o.Peer.textBytes, o.TLS.textBytes} {
		if _, err := size(); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if _, err := textBytes(o.Node, o.Error); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

// ParseObservation reads one observation from JSON: one value, no unknown fields, valid.
func ParseObservation(data []byte) (Observation, error) {
	var o Observation
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON")
		}
		return Observation{}, fmt.Errorf("parse observation: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Observation{}, errors.New("parse observation: text after the JSON object")
	}
	if err := o.Validate(); err != nil {
		return Observation{}, fmt.Errorf("parse observation: %w", err)
	}
	return o, nil
}
