package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// How agents make traffic. What they do in a tick depends on nothing but their number and that of the tick.
const (
	identities = 64 // of an agent: so many that none has eight new edges within ten minutes, which are one finding about a scan
	tickEvery  = 250 * time.Millisecond
	novelEvery = 8 // ticks, in one of which there is an edge that was never there
)

// tick is what an agent writes down before it observes anything, so that it is known whatever becomes of the agent.
type tick struct {
	Number uint64 `json:"n"`
	At     int64  `json:"at"` // ms since 1970, by the clock of the machine
	Novel  bool   `json:"novel,omitempty"`
}

// perTick is how much an agent observes in a tick: one of them more than its spool has room for while it is cut off.
func perTick(agent int) uint64 {
	if agent == fullSpool {
		return 1500
	}
	return 60
}

// edges is how many edges it knows: all of them are used within a few ticks.
func edges(agent int) uint64 { return perTick(agent) / 15 * 16 }

// sums are the observations of a tick and their connections, as observe gives them.
func (t tick) sums(agent int) (observations, connections uint64) {
	observations = perTick(agent)
	for i := range observations {
		connections += t.connections(i)
	}
	if t.Novel {
		return observations + 1, connections + 1
	}
	return observations, connections
}

func (t tick) connections(i uint64) uint64 { return 1 + (t.Number+i)%9 }

func nodeName(agent int) string { return fmt.Sprintf("chaos-%d", agent) }

var domain = func() event.TrustDomain {
	td, err := event.ParseTrustDomain("chaos.example")
	if err != nil {
		panic(err) // a constant
	}
	return td
}()

func identity(agent int, i uint64) event.Identity {
	return event.KubernetesIdentity(domain, "chaos", fmt.Sprintf("a%d-%d", agent, i))
}

// observe gives the observations of a tick. Their bytes sent are its number, by which they are found in the engine whatever happened to their time.
func (t tick) observe(agent int, at time.Time, visit func(*event.Observation)) {
	o := event.Observation{Time: at, FirstTime: at.Add(-tickEvery / 2), Node: nodeName(agent), Direction: event.Outbound, Protocol: event.TCP}
	for i := range perTick(agent) {
		edge := (t.Number*17 + i) % edges(agent)
		o.Workload = event.Workload{Identity: identity(agent, edge%identities), Evidence: event.EvidenceKubernetes, Namespace: "chaos"}
		o.Peer = event.Peer{Address: netip.AddrFrom4([4]byte{10, 1, byte(agent), byte(edge / identities)}), Port: 443}
		o.Counts = event.Counts{Connections: t.connections(i), BytesSent: t.Number}
		visit(&o)
	}
	if t.Novel {
		o.Workload = event.Workload{Identity: identity(agent, t.Number/novelEvery%identities), Evidence: event.EvidenceKubernetes, Namespace: "chaos"}
		o.Peer = event.Peer{Address: netip.AddrFrom4([4]byte{172, byte(16 + agent), byte(t.Number >> 8), byte(t.Number)}), Port: 4433}
		o.Counts = event.Counts{Connections: 1, BytesSent: t.Number}
		visit(&o)
	}
}

// readTicks reads what an agent has written down. The last line may be torn.
func readTicks(file string) ([]tick, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []tick
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var t tick
		if json.Unmarshal(lines.Bytes(), &t) == nil {
			out = append(out, t)
		}
	}
	return out, lines.Err()
}
