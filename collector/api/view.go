package api

import (
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Page is one page of a list. An empty NextCursor ends it.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// Identity is an identity with what is known of it. Counts are of outbound connections; last_used is of any direction.
type Identity struct {
	Identity      event.Identity `json:"identity"`
	Kind          string         `json:"kind"`  // service-account, unit, cgroup, container, process, workload, certificate
	State         string         `json:"state"` // warming, learning, partial, stable, unstable; unknown where the detector holds no state of it
	Progress      Progress       `json:"progress"`
	Evidence      event.Evidence `json:"evidence,omitempty"`
	Namespace     string         `json:"namespace,omitempty"`
	Unit          string         `json:"unit,omitempty"`
	Owner         string         `json:"owner,omitempty"`
	Executable    string         `json:"executable,omitempty"` // of the latest workload
	Nodes         []string       `json:"nodes"`
	FirstSeen     time.Time      `json:"first_seen,omitzero"` // absent: declared, but never seen
	LastSeen      time.Time      `json:"last_seen,omitzero"`
	LastUsed      *time.Time     `json:"last_used"` // null: never used while watched
	Connections   uint64         `json:"connections"`
	Failed        uint64         `json:"failed"`
	Denied        uint64         `json:"denied"`
	BytesSent     uint64         `json:"bytes_sent"`
	BytesReceived uint64         `json:"bytes_received"`
	Resources     uint64         `json:"resources"` // distinct ones that it reached

	Credential  *LastCredential `json:"credential,omitempty"`  // absent: it presented none that was seen
	Credentials []Credential    `json:"credentials,omitempty"` // the last presented first, at most 100; of a single identity only

	Inventory    *inventory.View `json:"inventory,omitempty"`    // what is declared of it, and how that fits to what was seen
	Unattributed []Unattributed  `json:"unattributed,omitempty"` // by reason, where it was asked for
}

// Progress says how far the learning of an identity is.
type Progress struct {
	Fraction        float64 `json:"fraction"` // 0 to 1
	ObservedSeconds float64 `json:"observed_seconds"`
	LearnSeconds    float64 `json:"learn_seconds"`
	Reason          string  `json:"reason,omitempty"`
}

// Reach is what an identity did toward one resource, or received there.
type Reach struct {
	Resource      event.Resource  `json:"resource"`
	Direction     event.Direction `json:"direction"`
	Protocol      event.Protocol  `json:"protocol"`
	Port          uint16          `json:"port"`
	FirstTime     time.Time       `json:"first_time"`
	LastTime      time.Time       `json:"last_time"`
	LastSuccess   *time.Time      `json:"last_success"` // null: no connection succeeded
	Connections   uint64          `json:"connections"`
	Failed        uint64          `json:"failed"`
	Denied        uint64          `json:"denied"`
	BytesSent     uint64          `json:"bytes_sent"`
	BytesReceived uint64          `json:"bytes_received"`
	Executables   []string        `json:"executables"`
	Nodes         []string        `json:"nodes"`
	TLS           []ReachTLS      `json:"tls,omitempty"`      // by kind of handshake, most connections first; of the other connections none was seen
	Approved      *Approved       `json:"approved,omitempty"` // a person's word that makes it normal
}

// ReachTLS is one kind of TLS handshake on the way to a resource.
type ReachTLS = store.ReachTLS

// FindingPatch is the body of a PATCH of a finding: a verdict, or the status that one gives.
type FindingPatch struct {
	Verdict event.VerdictKind `json:"verdict,omitempty"`
	Status  event.Status      `json:"status,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Until   time.Time         `json:"until,omitzero"` // of suppress, and of approve where that is to end
}
