package store

import (
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// TestMapEdges: a pair of identities is one edge, whichever ends were watched and are asked for; what failed is there and says so.
func TestMapEdges(t *testing.T) {
	s := open(t)
	in := toward(t, callee, "192.0.2.9", noon, event.Counts{Connections: 1, BytesReceived: 1})
	in.Direction, in.Peer.Name = event.Inbound, ""
	rows := linked(t)
	rows = append(rows, rowsOf(in)...)
	insertRows(t, s, "a", rows)
	for name, of := range map[string]Those{"named": {Identities: []string{checkout, callee, billing}}, "namespace": {Namespace: "shop"}, "all": {}} {
		links, total, err := s.MapLinks(t.Context(), of, noon.Add(-time.Hour), 100)
		if err != nil || total != 2 || len(links) != 2 {
			t.Fatalf("%s: %+v, %d, %v; want two edges", name, links, total, err)
		}
		if l := links[0]; l.Identity != checkout || l.Other != callee || l.Connections != 3 || !l.Succeeded || !slices.Equal(l.Services, []string{"5432/tcp"}) || !l.LastTime.Equal(noon) {
			t.Errorf("%s: %+v", name, l)
		}
		if l := links[1]; l.Identity != billing || l.Succeeded || l.Failed != 2 {
			t.Errorf("%s: a refused connection is %+v", name, l)
		}
		resources, total, err := s.MapResources(t.Context(), of, noon.Add(-time.Hour), 1)
		if err != nil || total != 2 || len(resources) != 1 || resources[0].Other != "dns:db.example:443/tcp" || resources[0].Inbound {
			t.Errorf("%s: %+v, %d, %v; want one of two", name, resources, total, err)
		}
	}
	if links, _, err := s.MapLinks(t.Context(), Those{Identities: []string{billing}}, noon.Add(-time.Hour), 100); err != nil || len(links) != 1 {
		t.Errorf("of one: %+v, %v", links, err)
	}
	if links, _, err := s.MapLinks(t.Context(), Those{Identities: []string{callee}}, noon.Add(-time.Hour), 100); err != nil || len(links) != 2 || links[0].Identity != checkout {
		t.Errorf("of who is reached: %+v, %v", links, err)
	}
	if links, _, err := s.MapLinks(t.Context(), Those{Namespace: "other"}, noon.Add(-time.Hour), 100); err != nil || len(links) != 0 {
		t.Errorf("of another namespace: %+v, %v", links, err)
	}
	if links, _, err := s.MapLinks(t.Context(), Those{}, noon.Add(time.Hour), 100); err != nil || len(links) != 0 {
		t.Errorf("of later: %+v, %v", links, err)
	}
}

func TestFindingsOf(t *testing.T) {
	s := open(t)
	finding := func(id, name string, severity event.Severity, status event.Status) event.Finding {
		return event.Finding{
			ID: event.FindingID(identity(t, checkout), id, resource(t, name)), Rule: id, Title: "x", Severity: severity, Identity: identity(t, checkout), Resource: resource(t, name),
			Workload: event.Workload{Identity: identity(t, checkout), Evidence: event.EvidenceKubernetes}, FirstTime: noon, LastTime: noon, Count: 1, Status: status,
		}
	}
	const one, two = "dns:one.example:443/tcp", "dns:two.example:443/tcp"
	if err := s.InsertFindings(t.Context(), []event.Finding{
		finding("a", one, event.Low, event.StatusNew), finding("b", one, event.Critical, event.StatusAcknowledged), finding("c", two, event.High, event.StatusResolved),
	}); err != nil {
		t.Fatal(err)
	}
	found, err := s.FindingsOf(t.Context(), []string{checkout, billing})
	if err != nil || len(found) != 1 || found[0] != (OpenFinding{checkout, one, 2, event.Critical}) {
		t.Errorf("%+v, %v; want the two that are open", found, err)
	}
}

// TestActivity: what is counted by hour is what observations say, and days know new resources.
func TestActivity(t *testing.T) {
	s := open(t)
	friday, monday := noon, noon.Add(3*day+time.Hour) // the 20th and the 23rd of November 2026
	insertRows(t, s, "a", rowsOf(
		toward(t, checkout, "db.example", friday, event.Counts{Connections: 3}),
		toward(t, checkout, "db.example", friday.Add(20*time.Minute), event.Counts{Connections: 1}),
		toward(t, billing, "db.example", friday, event.Counts{Connections: 100}),
	))
	insertRows(t, s, "b", rowsOf(
		toward(t, checkout, "db.example", monday, event.Counts{Connections: 5}),
		toward(t, checkout, "mail.example", monday, event.Counts{Connections: 1}),
	))
	a, err := s.Activity(t.Context(), identity(t, checkout), noon.Add(-day), noon.Add(7*day))
	if err != nil {
		t.Fatal(err)
	}
	if a.Connections[4][12] != 4 || a.Connections[0][13] != 6 || a.ActiveDays[4][12] != 1 || a.ActiveDays[0][13] != 1 || !a.CountedSince.Equal(friday) {
		t.Errorf("%+v", a)
	}
	want := []ActivityDay{
		{Day: friday.Truncate(day), Connections: 4, Resources: 1, NewOutbound: 1},
		{Day: monday.Truncate(day), Connections: 6, Resources: 2, NewOutbound: 1},
	}
	if !slices.Equal(a.Days, want) {
		t.Errorf("\n got %+v\nwant %+v", a.Days, want)
	}
	if a, err := s.Activity(t.Context(), identity(t, checkout), monday.Add(-time.Hour), noon.Add(7*day)); err != nil || len(a.Days) != 1 || a.Connections[4][12] != 0 {
		t.Errorf("of a shorter time: %+v, %v", a, err)
	}
}
