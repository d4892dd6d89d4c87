package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Scopes keeps what identities are declared to be allowed; [store.Store] does.
type Scopes interface {
	Scopes(ctx context.Context, f store.ScopeFilter) ([]store.ScopeVersion, string, error)
	Scope(ctx context.Context, id event.Identity) (event.Scope, error)
	ScopeVersions(ctx context.Context, id event.Identity) ([]store.ScopeVersion, error)
	ApplyScope(ctx context.Context, s event.Scope, expected *uint64) (event.Scope, error)
	WithdrawScope(ctx context.Context, id event.Identity, by string, at time.Time, expected *uint64) error
}

// Proposals are the scopes that were generated for some identities.
type Proposals struct {
	Items []scope.Proposal `json:"items"`
	More  bool             `json:"more,omitempty"` // the namespace has more identities than are answered for at once
}

func (s *Server) getScopes(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "q", "withdrawn", "limit", "cursor")
	if err != nil {
		return err
	}
	withdrawn, err := oneOf(values, "withdrawn", "true", "false")
	if err != nil {
		return err
	}
	n, err := limit(values)
	if err != nil {
		return err
	}
	found, next, err := s.Scopes.Scopes(r.Context(), store.ScopeFilter{Query: values.Get("q"), Withdrawn: withdrawn == "true", Limit: n, Cursor: values.Get("cursor")})
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, Page[store.ScopeVersion]{Items: found, NextCursor: next})
}

func (s *Server) getScope(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "format")
	if err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	found, err := s.Scopes.Scope(r.Context(), id)
	if err != nil {
		return storeError(err)
	}
	if values.Has("format") && values.Get("format") != "json" {
		return writePolicies(w, values.Get("format"), []event.Scope{found})
	}
	w.Header().Set("ETag", versionTag(found.Version))
	return writeJSON(w, found)
}

func (s *Server) getScopeVersions(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	found, err := s.Scopes.ScopeVersions(r.Context(), id)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, Page[store.ScopeVersion]{Items: found})
}

// maxScopeBody bounds a scope that is applied.
const maxScopeBody = 16 << 20

// putScope applies a scope. If-Match names the version that it replaces, If-None-Match: * says that there is to be none.
func (s *Server) putScope(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	expected, err := expectedVersion(r)
	if err != nil {
		return err
	}
	var in event.Scope
	if err := readJSONOf(w, r, &in, maxScopeBody); err != nil {
		return err
	}
	switch {
	case in.Identity != id:
		return problem(http.StatusBadRequest, "the scope is of %s, and the path of %s", clip(in.Identity.String()), clip(id.String()))
	case in.Version != 0 || in.ApprovedBy != "" || !in.At.IsZero():
		return problem(http.StatusBadRequest, "version, approved_by and at are not to be given: they say what was applied")
	}
	in.ApprovedBy, in.At = principal(r).Name, s.now()
	if err := in.Validate(); err != nil {
		return problem(http.StatusBadRequest, "%v", err)
	}
	if err := s.checkVersion(r.Context(), id, expected); err != nil {
		return err
	}
	var flagged []string
	for _, e := range in.Entries {
		if len(e.Flags) > 0 && len(flagged) < 20 {
			flagged = append(flagged, e.Resource)
		}
	}
	var out event.Scope
	err = s.audited(r, "scope.apply", id.String(), map[string]string{"entries": strconv.Itoa(len(in.Entries)), "flagged": strings.Join(flagged, " "), "origin": in.Origin}, func() (err error) {
		out, err = s.Scopes.ApplyScope(r.Context(), in, expected)
		return err
	})
	if err != nil {
		return changedError(err)
	}
	w.Header().Set("ETag", versionTag(out.Version))
	return writeJSON(w, out)
}

func (s *Server) deleteScope(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	expected, err := expectedVersion(r)
	if err != nil {
		return err
	}
	found, err := s.Scopes.Scope(r.Context(), id)
	if err != nil {
		return storeError(err)
	}
	if err := s.checkVersion(r.Context(), id, expected); err != nil {
		return err
	}
	err = s.audited(r, "scope.withdraw", id.String(), map[string]string{"version": strconv.FormatUint(found.Version, 10)}, func() error {
		return s.Scopes.WithdrawScope(r.Context(), id, principal(r).Name, s.now(), expected)
	})
	if err != nil {
		return changedError(err)
	}
	return writeJSON(w, found)
}

// checkVersion refuses before anything is written down; the store looks again.
func (s *Server) checkVersion(ctx context.Context, id event.Identity, expected *uint64) error {
	if expected == nil {
		return nil
	}
	found, err := s.Scopes.Scope(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return storeError(err)
	}
	if found.Version != *expected {
		return problem(http.StatusPreconditionFailed, "the scope's version is %d, not %d", found.Version, *expected)
	}
	return nil
}

func changedError(err error) error {
	if errors.Is(err, store.ErrChanged) {
		return problem(http.StatusPreconditionFailed, "%v", err)
	}
	return storeError(err)
}

func (s *Server) getScopeDiff(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	found, err := s.Scopes.Scope(r.Context(), id)
	if err != nil {
		return storeError(err)
	}
	reach, err := s.allReach(r.Context(), id, "")
	if err != nil {
		return err
	}
	return writeJSON(w, scope.Compare(&found, reach, s.now().Add(-d)))
}

// Bounds of generating.
const (
	maxGenerated = 200
	reachPage    = 10_000
)

// allReach gives all reach of an identity; more than a scope could hold is of no use.
func (s *Server) allReach(ctx context.Context, id event.Identity, way event.Direction) ([]store.Reach, error) {
	var out []store.Reach
	f := store.ReachFilter{Direction: way, Limit: reachPage}
	for {
		page, err := s.Reports.Reach(ctx, id, f)
		if err != nil {
			return nil, storeError(err)
		}
		out = append(out, page.Items...)
		if f.Cursor = page.Next; f.Cursor == "" || len(out) > 4*event.MaxScopeEntries {
			return out, nil
		}
	}
}

func (s *Server) getGenerated(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "identity", "namespace", "direction", "window", "format")
	if err != nil {
		return err
	}
	d, err := windowOf(values)
	if err != nil {
		return err
	}
	way, err := oneOf(values, "direction", string(event.Outbound), "any")
	if err != nil {
		return err
	}
	if values.Has("identity") == values.Has("namespace") {
		return problem(http.StatusBadRequest, "give either identity or namespace")
	}
	found, more, err := s.identitiesOf(r.Context(), values)
	if err != nil {
		return err
	}
	o := scope.Options{Inbound: way == "any" || values.Get("format") == string(scope.Istio), Window: d, Now: s.now()}
	out := Proposals{Items: []scope.Proposal{}, More: more}
	for i := range found {
		p, err := s.generate(r.Context(), &found[i], o)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, *p)
	}
	if !values.Has("format") || values.Get("format") == "json" {
		return writeJSON(w, out)
	}
	var scopes []event.Scope
	for i := range out.Items {
		scopes = append(scopes, out.Items[i].Scope)
	}
	return writePolicies(w, values.Get("format"), scopes)
}

// identitiesOf are those that a question is about.
func (s *Server) identitiesOf(ctx context.Context, values url.Values) (found []report.Identity, more bool, err error) {
	if values.Has("identity") {
		id, err := event.ParseIdentity(values.Get("identity"))
		if err != nil {
			return nil, false, problem(http.StatusBadRequest, "identity: %v", err)
		}
		one, err := s.Reports.Identity(ctx, id)
		if err != nil {
			return nil, false, storeError(err)
		}
		return []report.Identity{*one}, false, nil
	}
	namespace := values.Get("namespace")
	if namespace == "" {
		return nil, false, problem(http.StatusBadRequest, "namespace is empty")
	}
	f := store.IdentityFilter{Query: "/ns/" + namespace + "/", Limit: maxGenerated}
	for {
		page, err := s.Reports.Identities(ctx, f, "", "")
		if err != nil {
			return nil, false, storeError(err)
		}
		for i := range page.Items {
			if _, path, _ := strings.Cut(strings.TrimPrefix(page.Items[i].Identity.String(), "spiffe://"), "/"); strings.HasPrefix(path, "ns/"+namespace+"/") {
				if len(found) == maxGenerated {
					return found, true, nil
				}
				found = append(found, page.Items[i])
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	if len(found) == 0 {
		return nil, false, problem(http.StatusNotFound, "no identity is known in the namespace %s", clip(namespace))
	}
	return found, false, nil
}

func (s *Server) generate(ctx context.Context, i *report.Identity, o scope.Options) (*scope.Proposal, error) {
	k := &scope.Known{Identity: i.Identity, Namespace: i.Namespace, Owner: i.Owner, Open: map[event.Resource]string{}}
	if p, ok := s.Live.Progress(i.Identity); ok {
		k.State = string(p.State)
		if p.Learn > 0 {
			k.Progress = min(p.Observed.Seconds()/p.Learn.Seconds(), 1)
		}
	}
	way := event.Outbound
	if o.Inbound {
		way = ""
	}
	var err error
	if k.Reach, err = s.allReach(ctx, i.Identity, way); err != nil {
		return nil, err
	}
	for _, status := range []event.Status{event.StatusNew, event.StatusAcknowledged} {
		f := store.FindingFilter{Identity: i.Identity, Status: status, Limit: maxLimit}
		for {
			page, err := s.Reports.Findings(ctx, f)
			if err != nil {
				return nil, storeError(err)
			}
			for j := range page.Items {
				if x := &page.Items[j]; !x.Resource.IsZero() {
					k.Open[x.Resource] = x.Rule
				}
			}
			if f.Cursor = page.Next; f.Cursor == "" {
				break
			}
		}
	}
	for _, u := range i.Unattributed {
		k.Gaps = append(k.Gaps, fmt.Sprintf("%d connections were attributed to it for want of a better identity (%s)", u.Connections, u.Reason))
	}
	return scope.Generate(k, o), nil
}

// writePolicies writes scopes in a format that is not JSON, as documents of YAML.
func writePolicies(w http.ResponseWriter, format string, scopes []event.Scope) error {
	f := scope.Format(format)
	if !slices.Contains(scope.Formats, f) {
		return problem(http.StatusBadRequest, "format %q is not one of json, %s", clip(format), strings.Join(texts(scope.Formats), ", "))
	}
	var b strings.Builder
	written := 0
	var last error
	for i := range scopes {
		p, err := scope.Write(&scopes[i], f)
		if errors.Is(err, scope.ErrFormat) { // of many, some may have no form in it
			last = err
			continue
		}
		if err != nil {
			return err
		}
		if written++; written > 1 {
			b.WriteString("---\n")
		}
		b.WriteString(p.Text)
	}
	if written == 0 && last != nil {
		return problem(http.StatusUnprocessableEntity, "%v", last)
	}
	w.Header().Set("Content-Type", "application/yaml")
	if !unchanged(w, []byte(b.String())) {
		_, _ = w.Write([]byte(b.String()))
	}
	return nil
}
