package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv/world"
)

var (
	inlineCode = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=["']|javascript:|<script(?:[^>]*)>[^<]`)
	rowOf      = regexp.MustCompile(`data-row="([^"]+)"`)
)

// TestFindingPages renders the list and each finding of a world, among them those with names that mean harm.
func TestFindingPages(t *testing.T) {
	s := openStore(t)
	w, err := world.Fill(t.Context(), s, time.Now(), world.Options{Identities: 60, Days: 8})
	if err != nil {
		t.Fatal(err)
	}
	on := newSite(t, s, api.Viewer, nil)
	reader, responder := on.browser(), on.browser()
	responder.login(on.token["responder"], "/")
	get := func(b *browser, path string, status int) string {
		t.Helper()
		answer, page := b.send("GET", path, "")
		if answer.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, answer.Status, status)
		}
		if bad := inlineCode.FindString(page); bad != "" {
			t.Errorf("%s: %q stands in the page", path, bad)
		}
		if strings.Contains(page, "<img src=x") || strings.ContainsAny(page, "\u202e\u2066\u200b\x1b\x07") {
			t.Errorf("%s: a name that means harm stands in the page", path)
		}
		return page
	}

	// All pages together list each finding once, the latest first.
	seen := map[string]bool{}
	for path, n := "/findings?status=all", 0; path != "" && n < 100; n++ {
		page := get(reader, path, http.StatusOK)
		for _, m := range rowOf.FindAllStringSubmatch(page, -1) {
			if seen[m[1]] {
				t.Errorf("%s is listed twice", m[1])
			}
			seen[m[1]] = true
		}
		path = ""
		if next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page); next != nil {
			path = html.UnescapeString(next[1])
		}
	}
	if len(seen) < len(w.Findings) {
		t.Errorf("%d findings are listed, want %d", len(seen), len(w.Findings))
	}

	if len(w.Hostile) == 0 || len(w.Findings) < 5 {
		t.Fatalf("the world has %d findings, %d of them hostile", len(w.Findings), len(w.Hostile))
	}
	shown := map[string]int{} // of each rule, a few
	for i := range w.Findings {
		f := &w.Findings[i]
		if shown[f.Rule]++; shown[f.Rule] > 3 && f.Node != world.HostileHTML {
			continue
		}
		page := get(responder, "/findings/"+f.ID, http.StatusOK)
		for _, want := range []string{"What happened", "Why it is unusual", "What to do", "Timeline", "ambit explain " + f.ID, `data-verdict="`} {
			if !strings.Contains(page, want) {
				t.Errorf("%s (%s): there is no %q", f.ID, f.Rule, want)
			}
		}
		if page := get(reader, "/findings/"+f.ID, http.StatusOK); strings.Contains(page, "data-decide") {
			t.Errorf("%s: who may only read sees buttons", f.ID)
		}
		question := get(responder, "/findings/decide?"+url.Values{"id": {f.ID}, "verdict": {"suppress"}, "back": {"https://evil.example/"}}.Encode(), http.StatusOK)
		if !strings.Contains(question, `name="id" value="`+f.ID+`"`) || strings.Contains(question, "evil.example") {
			t.Errorf("%s: the question is\n%s", f.ID, question)
		}
	}

	for path, status := range map[string]int{
		"/findings?status=gone": 400, "/findings?severity=x": 400, "/findings?identity=x": 400, "/findings?window=x": 400, "/findings?cursor=x": 400, "/findings/nothing": 404,
		"/findings?status=all&text=" + url.QueryEscape(world.HostileHTML): 200, "/findings?rule=" + url.QueryEscape(world.HostileTurn): 200,
		"/decisions": 200, "/decisions?state=in-force&identity=" + url.QueryEscape(world.HostileQuote): 200, "/decisions?state=x": 400,
		"/audit": 200, "/audit?actor=" + url.QueryEscape(world.HostileHTML) + "&action=" + url.QueryEscape(world.HostileCode): 200,
	} {
		get(reader, path, status)
	}
	for path, status := range map[string]int{
		"/findings/decide?verdict=suppress": 400, "/findings/decide?verdict=x&id=" + w.Findings[0].ID: 400, "/findings/decide?verdict=resolve&id=nothing": 404,
		"/decisions/new?identity=" + url.QueryEscape(world.HostileHTML) + "&to=" + url.QueryEscape(world.HostileTurn) + "&for=" + url.QueryEscape(world.HostileCode) + "&finding=" + w.Hostile[0].ID: 200,
	} {
		get(responder, path, status)
	}
	answer, _ := reader.send("GET", "/findings/decide?verdict=resolve&id="+w.Findings[0].ID, "")
	if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/login") {
		t.Errorf("who is nobody is asked: %s", answer.Status)
	}
}

// BenchmarkFindingsPage shows pages of 20,000 findings one after the other.
func BenchmarkFindingsPage(b *testing.B) {
	s := openStore(b)
	var all []event.Finding
	for n := range 20_000 {
		id, err := event.ParseIdentity(fmt.Sprintf("spiffe://shop.example/ns/n%d/sa/s%d", n%50, n%2000))
		if err != nil {
			b.Fatal(err)
		}
		r, err := event.ParseResource(fmt.Sprintf("dns:r%d.example:443/tcp", n))
		if err != nil {
			b.Fatal(err)
		}
		at := time.Now().Add(-time.Duration(n) * time.Minute)
		all = append(all, event.Finding{
			ID: event.FindingID(id, "new-reach", r), Rule: "new-reach", Title: "It reached something new for the first time", Severity: event.Medium, Identity: id, Resource: r,
			Workload: event.Workload{Identity: id, Namespace: fmt.Sprintf("n%d", n%50)}, FirstTime: at, LastTime: at, Count: 1, Status: event.StatusNew,
			Explanation: []string{strings.Repeat("a sentence ", 20)}, Baseline: []string{strings.Repeat("another one ", 20)},
		})
	}
	if err := s.InsertFindings(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	on := newSite(b, s, api.Viewer, nil).browser()
	path := "/findings"
	for b.Loop() {
		answer, page := on.send("GET", path, "")
		if answer.StatusCode != http.StatusOK {
			b.Fatal(answer.Status)
		}
		path = "/findings"
		if next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page); next != nil {
			path = html.UnescapeString(next[1])
		}
	}
}
