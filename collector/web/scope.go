package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/event"
)

// scopeOf asks the API for the scope of an identity, and where it differs from what is used; nil where there is none.
func (s *Site) scopeOf(r *http.Request, encoded string) (*event.Scope, *scope.Diff, error) {
	var held event.Scope
	err := s.ask(r, http.MethodGet, "/api/v1/scopes/"+encoded, nil, &held)
	if status(err) == http.StatusNotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var diff scope.Diff
	return &held, &diff, s.ask(r, http.MethodGet, "/api/v1/scopes/"+encoded+"/diff", nil, &diff)
}

type scopeView struct {
	Identity event.Identity
	Path     string
	Encoded  string
	Proposal *scope.Proposal
	Held     *event.Scope
	Percent  float64
	Seen     string // what the form was made of
	Inbound  bool
	Formats  []scope.Format
}

// propose has the API generate the scope of an identity.
func (s *Site) propose(r *http.Request, id event.Identity, inbound bool) (*scope.Proposal, error) {
	q := url.Values{"identity": {id.String()}}
	if inbound {
		q.Set("direction", "any")
	}
	var found struct{ Items []scope.Proposal }
	if err := s.ask(r, http.MethodGet, "/api/v1/generated-scopes?"+q.Encode(), nil, &found); err != nil {
		return nil, err
	}
	if len(found.Items) != 1 {
		return nil, faultf(http.StatusNotFound, "There is no such identity.")
	}
	return &found.Items[0], nil
}

// seenAs stands for the entries of a proposal, so that nothing is applied but what was looked at.
func seenAs(p *scope.Proposal) (string, error) {
	data, err := json.Marshal(p.Scope.Entries)
	if err != nil {
		return "", fmt.Errorf("encode a scope: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func (s *Site) showScope(r *http.Request, _ Viewer) (any, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return nil, err
	}
	v := scopeView{Identity: id, Path: identityPath(id), Encoded: url.PathEscape(id.String()), Inbound: r.URL.Query().Get("direction") == "any", Formats: scope.Formats}
	if v.Proposal, err = s.propose(r, id, v.Inbound); err != nil {
		return nil, err
	}
	if v.Held, _, err = s.scopeOf(r, v.Encoded); err != nil {
		return nil, err
	}
	v.Percent = v.Proposal.Confidence * 100
	v.Seen, err = seenAs(v.Proposal)
	return v, err
}

// applyScope applies what was generated, without what was ticked off, if that is still what was looked at.
func (s *Site) applyScope(r *http.Request, _ Viewer) (string, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return "", err
	}
	p, err := s.propose(r, id, r.PostFormValue("direction") == "any")
	if err != nil {
		return "", err
	}
	seen, err := seenAs(p)
	if err != nil {
		return "", err
	}
	encoded := url.PathEscape(id.String())
	held, _, err := s.scopeOf(r, encoded)
	if err != nil {
		return "", err
	}
	version := uint64(0)
	if held != nil {
		version = held.Version
	}
	if seen != r.PostFormValue("seen") || strconv.FormatUint(version, 10) != r.PostFormValue("version") {
		return "", faultf(http.StatusConflict, "What it reaches, or its scope, has changed since this page was made.")
	}
	leave := r.PostForm["leave"]
	entries := make([]event.ScopeEntry, 0, len(p.Scope.Entries))
	for i, e := range p.Scope.Entries {
		if !slices.Contains(leave, strconv.Itoa(i)) {
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		return "", faultf(http.StatusBadRequest, "Nothing is left to allow.")
	}
	out := event.Scope{Identity: id, Entries: entries, Origin: "generated"}
	if err := changed(s.askIf(r, &version, http.MethodPut, "/api/v1/scopes/"+encoded, out, nil)); err != nil {
		return "", err
	}
	return identityPath(id) + "#scope", nil
}

func (s *Site) withdrawScope(r *http.Request, _ Viewer) (string, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return "", err
	}
	version, err := strconv.ParseUint(r.PostFormValue("version"), 10, 64)
	if err != nil {
		return "", faultf(http.StatusBadRequest, "The form does not say which version of the scope is withdrawn.")
	}
	if err := changed(s.askIf(r, &version, http.MethodDelete, "/api/v1/scopes/"+url.PathEscape(id.String()), nil, nil)); err != nil {
		return "", err
	}
	return identityPath(id) + "#scope", nil
}

// changed says in the words of pages that a scope is not any more what was looked at.
func changed(err error) error {
	if status(err) == http.StatusPreconditionFailed {
		return faultf(http.StatusConflict, "The scope has changed since this page was made.")
	}
	return err
}

type blastView struct {
	*report.Graph
	Identity event.Identity
	Path     string
	Source   string
	Window   string
	Windows  []string
	Depths   []int
	Shown    []report.GraphNode
	Leaves   []report.GraphLeaf
}

// blastRows bounds the rows of each table of the page; the API has all.
const blastRows = 100

func (s *Site) showBlast(r *http.Request, _ Viewer) (any, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return nil, err
	}
	text, d, err := window(r, "90d")
	if err != nil {
		return nil, err
	}
	depth := 3
	if t := r.URL.Query().Get("depth"); t != "" {
		if depth, err = strconv.Atoi(t); err != nil || depth < 1 || depth > report.MaxDepth {
			return nil, faultf(http.StatusBadRequest, "depth is not a number from 1 to %d.", report.MaxDepth)
		}
	}
	g, err := s.Reports.BlastRadius(r.Context(), id, s.now(), report.GraphQuery{Window: d, Depth: depth})
	if err != nil {
		return nil, err
	}
	v := blastView{Graph: g, Identity: id, Path: identityPath(id), Window: text, Windows: windows, Depths: []int{1, 2, 3, 4, 5},
		Shown: g.Items[:min(len(g.Items), blastRows)], Leaves: g.Leaves[:min(len(g.Leaves), blastRows)]}
	v.Source = "/api/v1/identities/" + url.PathEscape(id.String()) + "/blast-radius?" + url.Values{"window": {text}, "depth": {strconv.Itoa(depth)}}.Encode()
	return v, nil
}
