package peer

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Query asks who has an address.
type Query struct {
	Address  netip.Addr
	Port     uint16 // the service's port
	Protocol uint8  // IPPROTO_TCP or IPPROTO_UDP
	Inbound  bool   // the peer opened the connection: the port is not its own

	// At asks who had a pod's address at a time in the past, by what is known now: for edges that waited. The zero time asks for now.
	At time.Time
}

// Answer says who has an address. Identity, name and evidence may each be missing.
type Answer struct {
	Identity   event.Identity
	Evidence   event.Evidence // with Identity
	Name       string
	NameSource event.NameSource // with Name
	State      State
}

// State says how much an answer is worth.
type State uint8

// The states of an address.
const (
	Unknown   State = iota // no address of the cluster, as far as is known
	Known                  // of a pod, a service or a node
	Vacant                 // a pod had it, or it is in a node's range for pods, and nobody is known to have it now: whoever gets it is told soon
	Contested              // more than one live pod claims it, and nothing says which of them is right
)

// Pending says that another answer may come within seconds: it is worth to wait and ask again.
func (s State) Pending() bool { return s == Vacant || s == Contested }
