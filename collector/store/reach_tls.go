package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// ReachTLS is one kind of TLS handshake on the way to a resource.
type ReachTLS struct {
	Version     string    `json:"version,omitempty"` // 1.0 to 1.3; "" is not known
	Provenance  string    `json:"provenance"`        // full, resumed, inferred, wire-only
	Verified    bool      `json:"verified"`          // the peer's certificate was; of wire-only it is not known
	Mutual      bool      `json:"mutual"`            // both ends presented a certificate
	Connections uint64    `json:"connections"`
	LastTime    time.Time `json:"last_time"`
	SNI         []string  `json:"sni,omitempty"`  // names that were asked for, at most 8
	ALPN        []string  `json:"alpn,omitempty"` // at most 8
}

type reachTLSRow struct {
	Direction   string    `ch:"direction"`
	Resource    string    `ch:"resource"`
	Version     string    `ch:"version"`
	Provenance  string    `ch:"provenance"`
	Verified    bool      `ch:"verified"`
	Mutual      bool      `ch:"mutual"`
	Connections uint64    `ch:"connections"`
	LastTime    time.Time `ch:"last_time"`
	SNIs        []string  `ch:"snis"`
	ALPNs       []string  `ch:"alpns"`
}

// protect adds to a page of an identity's reach, which is in order, what is known of TLS.
func (s *Store) protect(ctx context.Context, id event.Identity, reach []Reach) error {
	if len(reach) == 0 {
		return nil
	}
	type edge struct{ direction, resource string }
	at := make(map[edge]*Reach, len(reach))
	for i := range reach {
		at[edge{string(reach[i].Direction), reach[i].Resource.String()}] = &reach[i]
	}
	from, until := &reach[0], &reach[len(reach)-1]
	args := named("identity", id.String(), "from_direction", string(from.Direction), "from_resource", from.Resource.String(),
		"until_direction", string(until.Direction), "until_resource", until.Resource.String())
	return each(ctx, s, "read TLS of reach", reachTLSSQL, args, func(r *reachTLSRow) error {
		if e := at[edge{r.Direction, r.Resource}]; e != nil {
			e.TLS = append(e.TLS, ReachTLS{r.Version, r.Provenance, r.Verified, r.Mutual, r.Connections, moment(r.LastTime), r.SNIs, r.ALPNs})
		}
		return nil
	})
}
