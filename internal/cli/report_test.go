package cli

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/report"
)

// TestReportCommands shows every report in every form, of identities whose declarations hold what would steer a terminal, a spreadsheet or a page.
func TestReportCommands(t *testing.T) {
	serve(t)
	hostile := []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "<script>alert(1)</script>", "'; DROP TABLE reach; --", `say ""hi""`, "\u202egnp.exe", "\u009b2J"}
	list := "identity,owner,purpose,environment,privilege,label:ambit.dev/exempt-until,label:ambit.dev/exempt-reason\n"
	for i, text := range hostile {
		text = `"` + text + `"`
		list += strings.Join([]string{"spiffe://shop.example/ns/shop/sa/h" + string(rune('a'+i)), text, text, text, "high", "2999-01-01", text}, ",") + "\n"
	}
	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	// The last one holds a control character, and is refused by its line.
	if code, out, errs := ambit(t, "inventory", "import", file); code != exitFailed || !strings.Contains(out+errs, "control character") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	const one = "spiffe://shop.example/ns/shop/sa/ha"
	reports := [][]string{
		{"unused", "--window", "1h", "--since", "last"}, {"unused", "--preset", "pci-7.2.5.1", "--class", "dormant"}, {"high-risk", "--at-least", "1"}, {"metrics"}, {"inventory"},
		{"inventory", "--by", "owner"}, {"ownership"}, {"reviews"}, {"coverage"}, {"exemptions"}, {"blast-radius", one}, {"who-can-reach", one}, {"who-can-reach", "dns:db.example:5432/tcp"},
	}
	for _, args := range reports {
		for _, form := range []string{"table", "json", "csv"} {
			line := append(append([]string{"report"}, args...), "-o", form)
			code, out, errs := ambit(t, line...)
			if code != exitGood || errs != "" || out == "" {
				t.Errorf("ambit %s: %d %q %q", strings.Join(line, " "), code, out, errs)
				continue
			}
			if strings.ContainsAny(out, "\x1b\u009b\x07") || form != "json" && strings.Contains(out, "\u202e") {
				t.Errorf("ambit %s: %q steers a terminal", strings.Join(line, " "), out)
			}
			switch form {
			case "json":
				if !json.Valid([]byte(out)) {
					t.Errorf("ambit %s: %s", strings.Join(line, " "), out)
				}
			case "csv":
				rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range rows {
					for _, cell := range row {
						if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
							t.Errorf("ambit %s: a spreadsheet computes %q", strings.Join(line, " "), cell)
						}
					}
				}
			}
		}
	}
	for _, form := range []string{"dot", "svg"} {
		if code, out, errs := ambit(t, "report", "blast-radius", one, "-o", form); code != exitGood || !strings.Contains(out, one) || strings.Contains(out, "<script") {
			t.Errorf("%s: %d %s %s", form, code, out, errs)
		}
	}

	said := func(want string, args ...string) {
		t.Helper()
		if code, out, errs := ambit(t, append([]string{"report"}, args...)...); code != exitGood || !strings.Contains(out, want) {
			t.Errorf("ambit report %s: %d %q %q, want %q", strings.Join(args, " "), code, out, errs, want)
		}
	}
	until := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	said("is exempt until", "exempt", one, "--until", until, "--reason", "=1+1")
	said("'=1+1", "exemptions", "-o", "csv")
	said("is not exempt any more", "exempt", one, "--lift")
	said(one+": keep", "review", one, "--verdict", "keep")
	said("1 reviewed", "reviews", "--state", "reviewed")
	said("local", "reviews", "--state", "reviewed", "-o", "csv")

	bad := func(want string, args ...string) {
		t.Helper()
		refused(t, exitUsage, append([]string{"report"}, args...), want)
	}
	bad("retired-but-active", "unused", "--class", "lazy")
	bad("cis-5.3", "unused", "--preset", "cis")
	bad("90d", "unused", "--window", "ninety")
	bad("2026-11-01", "unused", "--since", "yesterday")
	bad("privileged", "high-risk", "--risk", "fire")
	bad("from 1 to 6", "high-risk", "--at-least", "9")
	bad("from 1 to 8", "blast-radius", one, "--depth", "99")
	bad("dns:db.example:5432/tcp", "who-can-reach", "nothing")
	bad("--lift", "exempt", one)
	bad("2027-01-15", "exempt", one, "--until", "soon", "--reason", "x")
	bad("keep, change", "review", one)
	bad("one or more", "review", "--verdict", "keep")
	refused(t, exitFailed, []string{"report", "who-can-reach", "spiffe://shop.example/ns/none/sa/none"}, "not found")
}

// TestVerifyCommand says of a file whether it was changed.
func TestVerifyCommand(t *testing.T) {
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	name, _, err := report.WriteFile(folder, "unused", now, 1, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, name)
	if code, out, errs := ambit(t, "report", "verify", file, "--key", public); code != exitGood || !strings.Contains(out, "is as it was signed") || strings.Contains(out, "not checked") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, out, errs := ambit(t, "report", "verify", file); code != exitGood || !strings.Contains(out, "not checked") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if err := os.WriteFile(file, []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, []string{"report", "verify", file}, "changed after it was signed")
	refused(t, exitFailed, []string{"report", "verify", filepath.Join(folder, "none.json")}, "no signature")
}

// TestReportConfig refuses settings that make no sense.
func TestReportConfig(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, exitUsage, []string{"up", "--no-agent", "--check", "--config", file}, want)
	}
	f("report: {unused: {every: soon}}", "report.unused.every")
	f("report: {unused: {every: 1s}}", "a minute at least")
	f("report: {unused: {window: 1m}}", "report.unused.window")
	f("report: {unused: {windw: 1d}}", "did you mean report.unused.window?")
}
