package sim

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Record is one thing that a collector is told. Exactly one of the pointers is set; what they point to is valid until the next record.
type Record struct {
	At    time.Time // records come in this order
	Cause Cause     // of an observation; for explaining results, not for detectors

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

// Cause is what brought an observation about.
type Cause uint8

// The causes.
const (
	CauseUsual    Cause = iota // what an identity has done since it began
	CauseRare                  // an edge that is used once in days or weeks
	CauseDeploy                // an edge that came with a deploy, or with a service that came late
	CauseRename                // a name that changed
	CauseForgot                // a name that the agent does not know after a restart
	CauseMissed                // a connection whose handshake was missed
	CauseJob                   // a run of a job
	CausePipeline              // a run of a pipeline
	CauseWide                  // an identity that reaches new names all the time
	CauseDebug                 // a person in a pod
	CauseGone                  // what is called is not there any more
	CauseAttack
)

var causes = [...]string{
	"usual", "rarely used edge", "deploy", "renamed service", "name unknown after restart", "handshake missed", "job", "pipeline", "wide identity", "debugging", "callee gone", "attack",
}

func (c Cause) String() string { return causes[c] }
