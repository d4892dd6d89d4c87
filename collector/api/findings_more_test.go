package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

// TestVerdictsOnSeveral: each finding has its own result and its own record, and the story tells of it.
func TestVerdictsOnSeveral(t *testing.T) {
	s, _ := newServer(t)
	var page Page[event.Finding]
	if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 {
		t.Fatalf("%v, %d findings", err, len(page.Items))
	}
	id := page.Items[0].ID
	post := func(body string, code int, more ...string) string {
		t.Helper()
		w := ask(t, s, "POST", "/api/v1/findings/verdicts", body, append([]string{"Content-Type", "application/json"}, more...)...)
		if w.Code != code {
			t.Errorf("%s: %d %s, want %d", body, w.Code, w.Body, code)
		}
		if code == http.StatusOK {
			checkAnswerOf(t, "/api/v1/findings/verdicts", "post", w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		}
		return w.Body.String()
	}
	auth := []string{"Authorization", "Bearer " + testToken}
	post(`{"ids":["`+id+`"],"verdict":"acknowledge"}`, http.StatusUnauthorized)
	post(`{"ids":[],"verdict":"acknowledge"}`, http.StatusBadRequest, auth...)
	post(`{"ids":["`+strings.Repeat(`x","x`, 1)+`"],"verdict":"nonsense"}`, http.StatusBadRequest, auth...)
	var many []string
	for i := range maxVerdicts + 1 {
		many = append(many, strings.Repeat("x", i+1))
	}
	long, err := json.Marshal(map[string]any{"ids": many, "verdict": "acknowledge"})
	if err != nil {
		t.Fatal(err)
	}
	post(string(long), http.StatusBadRequest, auth...)
	var got Page[VerdictResult]
	text := post(`{"ids":["`+id+`","<b>none</b>","`+id+`"],"verdict":"approve","reason":"a new supplier"}`, http.StatusOK, auth...)
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Items) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, r := range got.Items {
		if r.ID == id && (r.Status != event.StatusResolved || r.Problem != nil) || r.ID != id && (r.Problem == nil || r.Problem.Status != http.StatusNotFound) {
			t.Errorf("got %+v %+v", r, r.Problem)
		}
	}
	text = post(`{"ids":["`+id+`"],"verdict":"suppress"}`, http.StatusOK, auth...)
	if !strings.Contains(text, "takes a reason") {
		t.Errorf("got %s", text)
	}
	var trail Page[audit.Record]
	if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/audit?subject="+id, "", auth...).Body.Bytes(), &trail); err != nil || len(trail.Items) != 1 {
		t.Fatalf("%v: %+v", err, trail)
	}
	var story report.Story
	w := ask(t, s, "GET", "/api/v1/findings/"+id+"/story", "")
	if err := json.Unmarshal(w.Body.Bytes(), &story); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var told []string
	for _, m := range story.Timeline {
		told = append(told, m.What)
		if m.What == "finding.approve" && (m.Who != "local" || m.Why != "a new supplier") {
			t.Errorf("got %+v", m)
		}
	}
	if !strings.Contains(strings.Join(told, " "), "first") || !strings.Contains(strings.Join(told, " "), "finding.approve") || len(story.Days) == 0 {
		t.Errorf("got %v, %+v", told, story)
	}
	if w := ask(t, s, "GET", "/api/v1/findings/none/story", ""); w.Code != http.StatusNotFound {
		t.Errorf("a story of nothing: %d", w.Code)
	}
	for query, want := range map[string]string{
		"?status=resolved": `"total":1`, "?status=new": `"total":0`, "?namespace=shop&text=CHECKOUT": `"total":1`, "?until=2000-01-01T00:00:00Z": `"total":0`,
	} {
		if w := ask(t, s, "GET", "/api/v1/findings/counts"+query, ""); !strings.Contains(w.Body.String(), want) || w.Code != http.StatusOK {
			t.Errorf("%s: %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
	if w := ask(t, s, "GET", "/api/v1/findings/counts?until=soon", ""); w.Code != http.StatusBadRequest {
		t.Errorf("until=soon: %d", w.Code)
	}
}
