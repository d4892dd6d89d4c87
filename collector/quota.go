package collector

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// causeQuota counts observations and sightings of identities that the detector does not learn, because their node named too many new ones.
const causeQuota = "identity-quota"

// identityQuota is how many new identities the detectors of all partitions learn from one node in one hour. Their tables are of all nodes: a
// compromised one that makes up identities must not fill them for the others.
const identityQuota = 5000

// quota holds every node to its share of identityQuota, and as much again, since identities are not spread evenly. It is not safe for
// concurrent use.
type quota struct {
	limit int
	spent map[hourOf]int
	hour  int64 // latest of spent
}

type hourOf struct {
	node string
	hour int64
}

func newQuota(partitions int) *quota {
	return &quota{limit: portion(identityQuota, partitions), spent: map[hourOf]int{}}
}

// portion is what one of the partitions may have of something, and as much again.
func portion(all, partitions int) int { return min(all, 2*(all+partitions-1)/partitions) }

// admit says whether a node may bring in one more identity. Hours that are over are forgotten, so there is an entry for each node at most.
func (q *quota) admit(node string, at time.Time) bool {
	hour := at.Unix() / 3600
	if hour > q.hour {
		q.hour = hour
		clear(q.spent)
	}
	return q.spend(hourOf{node, hour})
}

// again says whether an identity that a node brought in at a time may come in again, when everything is restored: what was too much for an
// hour came in within the next ones.
func (q *quota) again(node string, first time.Time) bool {
	hour := first.Unix() / 3600
	for later := range int64(72) {
		if q.spend(hourOf{node, hour + later}) {
			return true
		}
	}
	return false
}

func (q *quota) spend(h hourOf) bool {
	if q.spent[h] >= q.limit {
		return false
	}
	q.spent[h]++
	return true
}

// strangers gives the identities of a batch that the detector does not know and must not learn; nil is the usual case.
func (q *quota) strangers(b *event.Batch, stored time.Time, known func(event.Identity) bool) map[event.Identity]bool {
	var judged map[event.Identity]bool // that are new: whether they must stay so
	over := false
	for i := range b.Workloads {
		id := b.Workloads[i].Identity
		if _, again := judged[id]; again || known(id) {
			continue
		}
		if judged == nil {
			judged = map[event.Identity]bool{}
		}
		judged[id] = !q.admit(b.Node, stored)
		over = over || judged[id]
	}
	if !over {
		return nil
	}
	return judged
}
