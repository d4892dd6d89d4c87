package api

import (
	"net/http"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

func (s *Server) getIdentities(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "state", "inventory", "q", "unattributed", "window", "expiring", "limit", "cursor")
	if err != nil {
		return err
	}
	state, err := oneOf(values, "state", learningStates()...)
	if err != nil {
		return err
	}
	declared, err := oneOf(values, "inventory", inventoryStates()...)
	if err != nil {
		return err
	}
	n, err := limit(values)
	if err != nil {
		return err
	}
	unattributed, err := s.unattributed(values)
	if err != nil {
		return err
	}
	expiring, err := s.expiring(values)
	if err != nil {
		return err
	}
	list, err := s.Reports.Identities(r.Context(), store.IdentityFilter{
		Query: values.Get("q"), Limit: n, Cursor: values.Get("cursor"), Unattributed: unattributed, Expiring: expiring,
	}, state, inventory.State(declared))
	if err != nil {
		return storeError(err)
	}
	page := Page[Identity]{Items: make([]Identity, 0, len(list.Items)), NextCursor: list.Next}
	for i := range list.Items {
		page.Items = append(page.Items, s.identity(&list.Items[i]))
	}
	return writeJSON(w, page)
}

func learningStates() []string {
	var out []string
	for _, state := range detector.States() {
		out = append(out, string(state))
	}
	return out
}

func (s *Server) getIdentity(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	found, err := s.Reports.Identity(r.Context(), id)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, s.identity(found))
}

func (s *Server) getReach(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "direction", "limit", "cursor")
	if err != nil {
		return err
	}
	direction, err := oneOf(values, "direction", string(event.Outbound), string(event.Inbound), "any")
	if err != nil {
		return err
	}
	switch direction {
	case "":
		direction = string(event.Outbound)
	case "any":
		direction = ""
	}
	n, err := limit(values)
	if err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	list, err := s.Reports.Reach(r.Context(), id, store.ReachFilter{Direction: event.Direction(direction), Limit: n, Cursor: values.Get("cursor")})
	if err != nil {
		return storeError(err)
	}
	if len(list.Items) == 0 { // an identity without reach, or no identity?
		if _, err := s.Reports.Identity(r.Context(), id); err != nil {
			return storeError(err)
		}
	}
	approved, err := s.approved(r.Context(), id)
	if err != nil {
		return err
	}
	page := Page[Reach]{Items: make([]Reach, 0, len(list.Items)), NextCursor: list.Next}
	for i := range list.Items {
		item := reach(&list.Items[i])
		item.Approved = approved[item.Resource]
		page.Items = append(page.Items, item)
	}
	return writeJSON(w, page)
}

// pathIdentity reads the identity in the path, where its slashes are escaped.
func pathIdentity(r *http.Request) (event.Identity, error) {
	id, err := event.ParseIdentity(r.PathValue("id"))
	if err != nil {
		return event.Identity{}, problem(http.StatusBadRequest, "%v; its slashes must be escaped as %%2F in the path", err)
	}
	return id, nil
}

func (s *Server) identity(i *report.Identity) Identity {
	out := Identity{
		Identity: i.Identity, Kind: i.Kind, State: "unknown", Evidence: i.Evidence, Namespace: i.Namespace, Unit: i.Unit, Owner: i.Owner,
		Executable: i.Executable, Nodes: list(i.Nodes), FirstSeen: i.FirstSeen, LastSeen: i.LastSeen, LastUsed: optional(i.LastUsed),
		Connections: i.Counts.Connections, Failed: i.Counts.Failed, Denied: i.Counts.Denied,
		BytesSent: i.Counts.BytesSent, BytesReceived: i.Counts.BytesReceived, Resources: i.Resources, Unattributed: unattributed(i.Unattributed),
		Inventory: i.Inventory, Credential: s.lastCredential(i.Identity, i.Credential), Credentials: s.credentials(i.Identity, i.Credentials),
	}
	p, ok := s.Live.Progress(i.Identity)
	if !ok && i.LastSeen.IsZero() {
		out.Progress.Reason = "it was never seen"
		return out
	}
	if !ok {
		out.Progress.Reason = "the detector holds no state of this identity"
		return out
	}
	out.State = string(p.State)
	out.Progress = Progress{ObservedSeconds: p.Observed.Seconds(), LearnSeconds: p.Learn.Seconds(), Reason: p.Reason}
	switch {
	case p.State == detector.Stable || p.State == detector.Unstable:
		out.Progress.Fraction = 1
	case p.Learn > 0:
		out.Progress.Fraction = min(p.Observed.Seconds()/p.Learn.Seconds(), 1)
	}
	return out
}

func reach(r *report.Reach) Reach {
	return Reach{
		Resource: r.Resource, Direction: r.Direction, Protocol: r.Resource.Protocol(), Port: r.Resource.Port(),
		FirstTime: r.FirstTime, LastTime: r.LastTime, LastSuccess: optional(r.LastSuccess),
		Connections: r.Counts.Connections, Failed: r.Counts.Failed, Denied: r.Counts.Denied,
		BytesSent: r.Counts.BytesSent, BytesReceived: r.Counts.BytesReceived, Executables: list(r.Executables), Nodes: list(r.Nodes), TLS: r.TLS,
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// list makes an empty list of none, so that JSON says [].
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
