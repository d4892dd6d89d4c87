package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// startAlertmanager runs Debian's, and gives its URL.
func startAlertmanager(t testing.TB) string {
	t.Helper()
	program := need(t, "prometheus-alertmanager", "prometheus-alertmanager")
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: none, group_wait: 1s}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freePort(t, "tcp")
	p := run(t, program, "--config.file="+config, "--storage.path="+dir, "--web.listen-address="+address, "--cluster.listen-address=")
	url := "http://" + address
	await(t, "Alertmanager to be ready", func() bool {
		select {
		case <-p.done:
			t.Fatalf("Alertmanager ended: %s", p.out)
		default:
		}
		r, err := http.Get(url + "/-/ready")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return url
}

type alert struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	GeneratorURL        string
	Status              struct {
		State      string
		SilencedBy []string
	}
}

func getJSON(t testing.TB, url string, into any) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(into); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, r.Status, err)
	}
}

// TestAlertmanager tells a finding's life to a real one, and has its silences suppress it here.
func TestAlertmanager(t *testing.T) {
	url := startAlertmanager(t)
	b := newBus(t)
	type verdict struct {
		kind       event.VerdictKind
		finding    string
		reason, by string
		until      time.Time
	}
	var mu sync.Mutex
	var verdicts []verdict
	feeds := b.start(func(o *Options) {
		o.Decide = func(_ context.Context, id string, kind event.VerdictKind, reason, by string, until time.Time) (event.Finding, error) {
			mu.Lock()
			defer mu.Unlock()
			verdicts = append(verdicts, verdict{kind, id, reason, by, until})
			return event.Finding{}, nil
		}
	}, map[string]any{"name": "pager", "transport": "alertmanager", "url": url, "from": "all", "silences": true, "link": "https://ambit.example.com", "labels": map[string]any{"site": "eu1"}})
	f, g := finding(t), finding(t)
	now := time.Now().UTC().Truncate(time.Second)
	f.FirstTime, f.LastTime = now.Add(-time.Hour), now
	g.Rule, g.Severity, g.FirstTime, g.LastTime = "fan-out", event.Medium, now.Add(-time.Minute), now
	g.ID = event.FindingID(g.Identity, g.Rule, g.Resource)
	b.publish(f, g)
	get := func() map[string]alert {
		var list []alert
		getJSON(t, url+"/api/v2/alerts?silenced=true", &list)
		out := map[string]alert{}
		for _, a := range list {
			out[a.Labels["finding"]+" "+a.Labels["severity"]] = a
		}
		return out
	}
	await(t, "both alerts", func() bool { return len(get()) == 2 })
	a := get()[f.ID+" critical"]
	if a.Labels["alertname"] != "AmbitNewReach" || a.Labels["identity"] != f.Identity.String() || a.Labels["site"] != "eu1" || a.Annotations["summary"] != f.Title || a.Annotations["owasp"] != "NHI5:2025, NHI8:2025" ||
		!a.StartsAt.Equal(f.FirstTime) || time.Until(a.EndsAt) < 20*time.Hour || a.GeneratorURL != "https://ambit.example.com/api/v1/findings/"+f.ID || a.Status.State != "active" {
		t.Errorf("Alertmanager has %+v", a)
	}
	// Of one whose severity changes the former alert is over.
	g.Severity, g.LastTime = event.Critical, now.Add(time.Second)
	b.publish(g)
	await(t, "the new severity", func() bool { all := get(); return len(all) == 2 && all[g.ID+" critical"].Labels != nil })

	// A silence suppresses, its end ends that.
	end := now.Add(2 * time.Hour)
	body, err := json.Marshal(map[string]any{"matchers": []any{map[string]any{"name": "rule", "value": "new-reach", "isRegex": false}}, "startsAt": now, "endsAt": end, "createdBy": "alice", "comment": "known"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url+"/api/v2/silences", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ SilenceID string }
	if err := json.NewDecoder(r.Body).Decode(&made); err != nil || made.SilenceID == "" {
		t.Fatalf("%s: %v", r.Status, err)
	}
	r.Body.Close()
	told := func(n int) verdict {
		t.Helper()
		await(t, fmt.Sprintf("verdict %d", n), func() bool { mu.Lock(); defer mu.Unlock(); return len(verdicts) >= n })
		mu.Lock()
		defer mu.Unlock()
		return verdicts[n-1]
	}
	if v := told(1); v.kind != event.VerdictSuppress || v.finding != f.ID || v.by != "alertmanager:alice" || v.reason != "silenced in Alertmanager: known ("+made.SilenceID+")" || !v.until.Equal(end) {
		t.Errorf("got %+v", v)
	}
	// What that makes of the finding does not end the alert, whose silence would end with it.
	f.Status, f.By, f.Verdict, f.Decided, f.Until = event.StatusSuppressed, "alertmanager:alice", event.VerdictSuppress, now.Add(2*time.Second), end
	b.publish(f)
	await(t, "that to be told", func() bool { return feeds.statusOf("pager").Sequence == 4 })
	if a := get()[f.ID+" critical"]; a.Status.State != "suppressed" || len(a.Status.SilencedBy) != 1 || time.Until(a.EndsAt) < 20*time.Hour {
		t.Errorf("Alertmanager has %+v", a)
	}
	request, err := http.NewRequest(http.MethodDelete, url+"/api/v2/silence/"+made.SilenceID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = http.DefaultClient.Do(request); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if v := told(2); v.kind != event.VerdictUnsuppress || v.finding != f.ID {
		t.Errorf("got %+v", v)
	}
	// The end of the finding ends the alert.
	f.Status, f.By, f.Verdict, f.Decided = event.StatusResolved, "bob", event.VerdictResolve, now.Add(3*time.Second)
	b.publish(f)
	await(t, "the end of the alert", func() bool { all := get(); return len(all) == 1 && all[g.ID+" critical"].Labels != nil })
	// A test shows, and is over soon.
	if answer, err := feeds.Test(t.Context(), "pager"); err != nil || !answer.Taken {
		t.Errorf("got %+v, %v", answer, err)
	}
	await(t, "the test", func() bool {
		for _, a := range get() {
			if a.Labels["test"] == "true" && a.Labels["rule"] == "feed-test" && time.Until(a.EndsAt) < 6*time.Minute {
				return true
			}
		}
		return false
	})
}

// TestSilencedFit: as many findings as may be silenced at a time fit into one message of the server.
func TestSilencedFit(t *testing.T) {
	known := map[string]silenced{}
	for i := range maxSilenced {
		id := event.FindingID(identity(t, fmt.Sprintf("spiffe://shop.example/ns/shop/sa/s%d", i)), "new-reach", event.Resource{})
		known[id] = silenced{Silence: strings.Repeat("maintenance ", 33), By: silencedBy + "alice", Until: noon}
	}
	data, err := packSilenced(known)
	if err != nil || len(data) > 900<<10 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if again, err := readSilenced(data); err != nil || !maps.Equal(again, known) {
		t.Errorf("%d of %d are read, %v", len(again), len(known), err)
	}
}
