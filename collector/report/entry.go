package report

import (
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
)

// Entry is an identity in a few words, for lists of many. Times are UTC; a zero time is never.
type Entry struct {
	Identity    event.Identity  `json:"identity"`
	Kind        string          `json:"kind"`  // see [store.Kind]
	State       string          `json:"state"` // of learning; unknown where the detector holds none
	Inventory   inventory.State `json:"inventory,omitempty"`
	Class       string          `json:"class,omitempty"` // of unused ones, in the last 90 days
	Evidence    event.Evidence  `json:"evidence,omitempty"`
	Namespace   string          `json:"namespace,omitempty"`
	Domain      event.Domain    `json:"domain,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Purpose     string          `json:"purpose,omitempty"` // of a page's items
	Privilege   event.Privilege `json:"privilege,omitempty"`
	Nodes       uint64          `json:"nodes"` // how many it was seen on
	FirstSeen   time.Time       `json:"first_seen,omitzero"`
	LastSeen    time.Time       `json:"last_seen,omitzero"`
	LastUsed    time.Time       `json:"last_used,omitzero"`
	Findings    uint64          `json:"findings,omitempty"` // that are open
	Severity    event.Severity  `json:"severity,omitempty"` // the gravest of these
}

// Facets are what entries can be chosen by, in the order of pages.
var Facets = []string{"state", "domain", "environment", "owner", "evidence", "kind", "namespace", "inventory", "class", "privilege"}

// facet gives one of Facets of an entry; "" is not known.
func (e *Entry) facet(name string) string {
	switch name {
	case "state":
		return e.State
	case "domain":
		return string(e.Domain)
	case "environment":
		return e.Environment
	case "owner":
		return e.Owner
	case "evidence":
		return string(e.Evidence)
	case "kind":
		return e.Kind
	case "namespace":
		return e.Namespace
	case "inventory":
		return string(e.Inventory)
	case "class":
		return e.Class
	}
	return string(e.Privilege)
}

// FacetValue is how many entries have a value in a facet.
type FacetValue struct {
	Value string `json:"value"` // "" is not known
	Count uint64 `json:"count"`
}

// maxFacetValues bounds the values of a facet that are listed.
const maxFacetValues = 100
