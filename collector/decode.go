package collector

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Causes of refusal, which are label values.
const (
	causeMalformed = "malformed"
	causeTooLarge  = "too_large"
	causeVersion   = "version"
	causeNode      = "node_mismatch"
	causeSubject   = "subject"
	causeClock     = "clock"
	causeForeign   = "foreign-node"
	causePartition = "wrong-partition"
	causeDivision  = "partitions" // of another division of identities than this one
)

// maxAhead is how far a node's clock may be ahead of the stream's. Further, and its identities would count as learned at once, and what
// they do would be of days to come.
const maxAhead = 5 * time.Minute

// refusal is why a message is not taken.
type refusal struct {
	cause string
	err   error
}

func (r *refusal) Error() string { return r.err.Error() }

func refuse(err error) *refusal {
	switch {
	case errors.Is(err, event.ErrTooLarge):
		return &refusal{causeTooLarge, err}
	case errors.Is(err, event.ErrVersion):
		return &refusal{causeVersion, err}
	}
	return &refusal{causeMalformed, err}
}

// content is what is believed of a message: a batch or a heartbeat.
type content struct {
	batch     *event.Batch
	heartbeat *event.Heartbeat
	untimely  bool              // the batch is not believed for its time, and says only what was lost
	left      map[string]uint64 // observations, and sightings of workloads, that were left out of the batch, by cause
}

// decode reads a message by its subject. A node may speak for itself only: its token in the subject, which the server can hold it to, must
// be that of the node in the message, and what is bound to another node is left out. stored is when the message came into the stream, so
// that a repetition judges like the first time; what is older by more than behind is refused, or left out where it is part of a batch. So is
// what belongs to another of the partitions: it would be learned where nobody looks for it. A batch that is refused for its time comes back, too,
// with nothing in it but what was lost.
func decode(subject string, data []byte, stored time.Time, behind time.Duration, partitions int) (content, *refusal) {
	parts := strings.Split(subject, ".")
	switch {
	case len(parts) == 5 && parts[2] == "obs":
		partition, err := strconv.Atoi(parts[3])
		if err != nil || partition < 0 {
			return content{}, &refusal{causeSubject, fmt.Errorf("subject %s is of none of the %d partitions", subject, partitions)}
		}
		if partition >= partitions {
			return content{}, &refusal{causeDivision, fmt.Errorf("subject %s is of none of the %d partitions: set partitions to %d there, too", subject, partitions, partitions)}
		}
		b, err := event.DecodeBatch(data)
		if err != nil {
			return content{}, refuse(err)
		}
		r := checkSource(subject, parts[4], b.Node, b.Time, stored, behind)
		if r != nil && r.cause == causeClock {
			return onlyCounted(b, stored), r
		}
		if r != nil {
			return content{}, r
		}
		c := content{batch: b}
		workloads, observations := b.DropWorkloads(func(w *event.Workload) bool { return w.Identity.Foreign(b.Node) })
		c.leave(causeForeign, workloads+observations)
		workloads, observations = b.DropWorkloads(func(w *event.Workload) bool { return event.Partition(w.Identity, partitions) != partition })
		c.leave(causePartition, workloads+observations)
		c.leave(causeClock, b.DropBefore(stored.Add(-behind)))
		return c, nil
	case len(parts) == 4 && parts[2] == "agent":
		h, err := event.DecodeHeartbeat(data)
		if err != nil {
			return content{}, refuse(err)
		}
		if r := checkSource(subject, parts[3], h.Node, h.Time, stored, behind); r != nil {
			return content{}, r
		}
		return content{heartbeat: h}, nil
	}
	return content{}, &refusal{causeSubject, fmt.Errorf("subject %s is neither of observations nor of an agent", subject)}
}

// onlyCounted is a batch that cannot be believed for its time: what it held is lost, and its sender's coverage says so. It claims no time that was watched.
func onlyCounted(b *event.Batch, stored time.Time) content {
	c := content{batch: b, untimely: true}
	_, observations := b.DropWorkloads(func(*event.Workload) bool { return true })
	c.leave(causeClock, observations)
	b.Started, b.Time = stored, stored
	return c
}

func (c *content) leave(cause string, n int) {
	if n == 0 {
		return
	}
	if c.left == nil {
		c.left = map[string]uint64{}
	}
	c.left[cause] += uint64(n)
}

func checkSource(subject, token, node string, t, stored time.Time, behind time.Duration) *refusal {
	age := stored.Sub(t)
	switch {
	case event.NodeToken(node) != token:
		return &refusal{causeNode, fmt.Errorf("node %q spoke on subject %s", node, subject)}
	case age < -maxAhead:
		return &refusal{causeClock, fmt.Errorf("the clock of node %q is %s ahead", node, -age.Round(time.Second))}
	case age > behind:
		return &refusal{causeClock, fmt.Errorf("node %q sent what was %s old; more than %s is not taken", node, age.Round(time.Second), behind)}
	}
	return nil
}
