package sim

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Record is one thing that a collector is told. Exactly one of the pointers is set; what they point to is valid until the next record.
type Record struct {
	At time.Time // records come in this order

	Watch       *Watch             // the agent of a node has watched until then
	Sight       *Sight             // a workload was running
	Declaration *event.Declaration // an account was created, or is gone
	Observation *event.Observation
}

// Watch says that a node was watched without a break. Before each observation of a node there is one with the observation's time.
type Watch struct {
	Node, Boot     string
	Started, Until time.Time
}

// Sight says that a workload was running on a node.
type Sight struct {
	Workload *event.Workload
	Node     string
}
