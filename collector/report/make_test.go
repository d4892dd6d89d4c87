package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func signer(t *testing.T) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

// TestVerifyFile: a report that was changed in any way is not taken for what was signed.
func TestVerifyFile(t *testing.T) {
	key, public := signer(t)
	_, other := signer(t)
	folder := t.TempDir()
	name, sum, err := WriteFile(folder, "unused", noon, map[string]any{"items": []string{"<script>", "=1+1"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, name)
	if got, err := VerifyFile(path, []string{other, public}); err != nil || got.SHA256 != sum || got.Key != public || !got.Time.Equal(noon) || name != "unused-20261120T120000Z.json" {
		t.Fatalf("%s: %+v, %v", name, got, err)
	}
	if _, err := VerifyFile(path, nil); err != nil {
		t.Errorf("without keys: %v", err)
	}
	if _, _, err := WriteFile(folder, "unused", noon, 1, key); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("written twice: %v", err)
	}
	f := func(want string, change func(path string)) {
		t.Helper()
		dir := t.TempDir()
		for _, suffix := range []string{"", signatureSuffix} {
			data, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		copied := filepath.Join(dir, name)
		change(copied)
		if _, err := VerifyFile(copied, []string{public}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	edit := func(suffix, from, to string) func(string) {
		return func(path string) {
			data, err := os.ReadFile(path + suffix)
			if err != nil || !strings.Contains(string(data), from) {
				t.Fatalf("%v, %q in %s", err, from, data)
			}
			if err := os.WriteFile(path+suffix, []byte(strings.Replace(string(data), from, to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f("changed after it was signed", edit("", "=1+1", "=1+2"))
	f("not of this file, name and time", edit(signatureSuffix, "2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z"))
	f("not trusted", edit(signatureSuffix, public, other))
	f("named unused-x.json", edit(signatureSuffix, name, "unused-x.json"))
	f("no signature", func(path string) { os.Remove(path + signatureSuffix) })
	f("no such file", func(path string) { os.Remove(path) })
	f("cannot be read", edit(signatureSuffix, "{", "["))
	f("cannot be read", edit(signatureSuffix, `"signature": "`, `"signature": "!`))
}

// TestMakeUnused: a scheduled report is a signed file, says what has changed, and makes findings that are resolved by use, by exemption, and when people say so.
func TestMakeUnused(t *testing.T) {
	w := &world{t: t, s: open(t)}
	ok := event.Counts{Connections: 1, BytesReceived: 1}
	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(200 * day), Until: noon})
	for _, name := range []string{"dormant", "wakes", "exempt-later", "judged"} {
		w.use(name, "n1", "db.example", event.Outbound, 100*day, ok)
		w.sight(name, "n1", time.Hour)
	}
	w.use("blind", "n9", "db.example", event.Outbound, 100*day, ok)
	note := event.Declaration{Identity: account(t, "annotated"), Source: event.SourceCSV, SourceName: "list", Created: ago(300 * day), Labels: map[string]string{exemptUntil: "2026-12-24", exemptReason: "once a year"}}
	if _, err := w.s.ReplaceInventory(t.Context(), store.Inventory{Source: event.SourceCSV, Name: "list", Declarations: []event.Declaration{note}, Time: ago(200 * day)}); err != nil {
		t.Fatal(err)
	}
	key, public := signer(t)
	folder := t.TempDir()
	r := New(w.s, nil)
	if last, err := r.LastUnused(t.Context(), noon); err != nil || !last.IsZero() {
		t.Fatalf("%v %v", last, err)
	}
	make := func(at time.Time, want ...string) *Made {
		t.Helper()
		made, err := r.MakeUnused(t.Context(), at, 90*day, folder, key)
		if err == nil {
			err = r.Keep(t.Context(), made)
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range made.Findings {
			name := f.Identity.String()
			got = append(got, name[strings.LastIndex(name, "/")+1:]+" "+string(f.Status))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("findings %q, want %q", got, want)
		}
		if _, err := VerifyFile(filepath.Join(folder, made.Run.File), []string{public}); err != nil {
			t.Error(err)
		}
		return made
	}
	first := make(noon, "dormant new", "exempt-later new", "judged new", "wakes new")
	if first.Run.Total != 6 { // and what is blind, and what is exempt
		t.Errorf("%+v", first.Run)
	}
	make(noon.Add(time.Minute)) // nothing has changed: nothing is told again

	w.use("wakes", "n1", "db.example", event.Outbound, -time.Hour, ok)
	err := w.s.Exempt(t.Context(), store.Exemption{Identity: account(t, "exempt-later"), Reason: "audit", By: "ann", At: noon, Until: noon.Add(30 * day)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range first.Findings {
		if f.Identity == account(t, "judged") {
			if _, err := w.s.Decide(t.Context(), &event.Verdict{Finding: f.ID, Rule: f.Rule, Identity: f.Identity, Kind: event.VerdictResolve, Reason: "seen", By: "ann", At: noon.Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	second := make(noon.Add(2*time.Hour), "exempt-later resolved", "wakes resolved")
	data, err := os.ReadFile(filepath.Join(folder, second.Run.File))
	if err != nil {
		t.Fatal(err)
	}
	var told UnusedReport
	if err := json.Unmarshal(data, &told); err != nil || told.Changes == nil || told.Changes.Counts.Resolved != 1 || !strings.Contains(told.Changes.Resolved[0].Why, "it was used") {
		t.Errorf("%v: %+v", err, told.Changes)
	}
	for _, u := range told.Items {
		if u.Identity == note.Identity && (u.Exemption == nil || u.Exemption.Reason != "once a year" || u.Class != store.ClassDeclared || u.Action != "None until 2026-12-25: it is exempt.") {
			t.Errorf("%+v", u)
		}
	}
	if last, err := r.LastUnused(t.Context(), noon.Add(day)); err != nil || !last.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("last made %v, %v", last, err)
	}
	got, err := r.Unused(t.Context(), noon.Add(3*time.Hour), UnusedQuery{Window: 90 * day, Changes: true, Since: noon.Add(time.Second)})
	if err != nil || !got.Changes.Since.Equal(noon) || got.Changes.Counts.Resolved != 1 {
		t.Errorf("%+v %v", got.Changes, err)
	}

	// After the exemption the identity is unused again, and told so; what a person resolved is not.
	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(200 * day), Until: noon.Add(36 * day)})
	make(noon.Add(36*day), "annotated new", "exempt-later new")
}
