package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	shopRecording = "../../testdata/recordings/shop.jsonl"
	shopFindings  = "../../testdata/recordings/shop.findings.jsonl"
)

// runReplay gives what the command prints and its error.
func runReplay(t *testing.T, input string, open func(context.Context) (loader, error), args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := newReplayCommand(open)
	cmd.SetFlagErrorFunc(flagError)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The recording of a shop with an intruder in its cart, plain, compressed, by a pipe, and again.
func TestReplayRecording(t *testing.T) {
	recorded := readFile(t, shopRecording)
	got, _, err := runReplay(t, "", nil, "--learn", "30m", shopRecording)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(shopFindings, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := readFile(t, shopFindings)
	for name, run := range map[string]func() (string, string, error){
		"plain": func() (string, string, error) { return got, "", nil },
		"again": func() (string, string, error) { return runReplay(t, "", nil, "--learn", "30m", shopRecording) },
		"pipe":  func() (string, string, error) { return runReplay(t, recorded, nil, "--learn", "30m", "-") },
		"gzip": func() (string, string, error) {
			return runReplay(t, "", nil, "--learn=30m", writeFile(t, "a", zip(t, recorded)))
		},
		"gzip pipe": func() (string, string, error) { return runReplay(t, zip(t, recorded), nil, "--learn=30m", "-") },
		"CRLF": func() (string, string, error) {
			return runReplay(t, strings.ReplaceAll(recorded, "\n", "\r\n\r\n"), nil, "--learn=30m", "-")
		},
		"no newline": func() (string, string, error) {
			return runReplay(t, strings.TrimSpace(recorded), nil, "--learn=30m", "-")
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, err := run()
			if err != nil || errs != "" || out != want {
				t.Errorf("error %v, stderr %q\n got %s\nwant %s", err, errs, out, want)
			}
		})
	}
}

func TestReplayForms(t *testing.T) {
	out, _, err := runReplay(t, "", nil, "--learn=30m", "-o", "csv", shopRecording)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 5 || rows[0][0] != "first_time" || rows[1][0] != "2026-11-21T09:31:10Z" {
		t.Errorf("CSV %v, %v", rows, err)
	}
	out, _, err = runReplay(t, "", nil, "--learn=30m", "-o", "table", shopRecording)
	if lines := strings.Split(out, "\n"); err != nil || len(lines) != 6 || !strings.HasPrefix(lines[0], "FIRST TIME") || !strings.Contains(lines[1], "169.254.169.254") {
		t.Errorf("table %s, %v", out, err)
	}
	out, errs, err := runReplay(t, "", nil, shopRecording)
	if err != nil || out != "" || errs != "" {
		t.Errorf("within a day of learning: %q, %q, %v", out, errs, err)
	}
}

func TestReplayFailOnFindings(t *testing.T) {
	if _, _, err := runReplay(t, "", nil, "--learn=30m", "--fail-on-findings", shopRecording); !errors.Is(err, errFindings) {
		t.Errorf("with findings: %v", err)
	}
	if _, _, err := runReplay(t, "", nil, "--fail-on-findings", shopRecording); err != nil {
		t.Errorf("without findings: %v", err)
	}
}

// The time between two recordings was not watched: the second day alone is too short to learn.
func TestReplayDoesNotCountTheTimeBetweenRecordings(t *testing.T) {
	recorded := readFile(t, shopRecording)
	later := strings.ReplaceAll(recorded, "2026-11-21T", "2026-11-25T")
	out, _, err := runReplay(t, "", nil, "--learn=5h", writeFile(t, "a", recorded), writeFile(t, "b", later))
	if err != nil || out != "" {
		t.Errorf("in two recordings: %s%v", out, err)
	}
	out, _, err = runReplay(t, "", nil, "--learn=5h", writeFile(t, "ab", recorded+strings.ReplaceAll(later, "198.51.100.77", "198.51.100.78")))
	if err != nil || strings.Count(out, "\n") != 2 {
		t.Errorf("in one recording: %s%v", out, err)
	}
}

func TestReplayRefusals(t *testing.T) {
	good, _, _ := strings.Cut(readFile(t, shopRecording), "\n")
	cut := zip(t, strings.Repeat(good+"\n", 100))
	damaged := []byte(cut)
	damaged[len(damaged)/2] ^= 0xff
	const fix = "; fix or remove the line, or use --skip-invalid"
	for name, tc := range map[string]struct {
		text, want string
		usage      bool
		args       []string
	}{
		"not JSON":         {text: good + "\nnot JSON\n", want: ":2: parse observation: invalid character 'o' in literal null (expecting 'u')" + fix},
		"cut short":        {text: good + "\n" + good[:100], want: ":2: parse observation: unexpected end of JSON" + fix},
		"unknown field":    {text: good + "\n\n" + strings.Replace(good, `"time"`, `"colour":1,"time"`, 1), want: `:3: parse observation: json: unknown field "colour"` + fix},
		"two faults":       {text: `{"time":"2026-11-21T08:00:10Z"}`, want: `:1: parse observation: workload.identity is missing; direction "" is neither outbound nor inbound`},
		"two on a line":    {text: good + good, want: ":1: parse observation: text after the JSON object" + fix},
		"bad identity":     {text: strings.Replace(good, "spiffe://shop.example/ns/shop/sa/checkout", "spiffe://shop.example/", 1), want: `:1: parse observation: parse identity "spiffe://shop.example/": path cannot have a trailing slash` + fix},
		"year 1000":        {text: strings.Replace(good, `"time":"2026`, `"time":"1000`, 1), want: ":1: parse observation: time 1000-11-21T08:00:10Z is not plausible"},
		"long line":        {text: good + "\n" + strings.Repeat("x", maxLine+1) + "\n" + good, want: ":2: the line is longer than 1048576 bytes" + fix},
		"zip cut short":    {text: cut[:len(cut)-10], want: "the gzip data is damaged or cut short (unexpected EOF); make the copy anew"},
		"zip damaged":      {text: string(damaged), want: "the gzip data is damaged or cut short ("},
		"zip header":       {text: "\x1f\x8b\x00", want: "read standard input: the gzip data is damaged or cut short ("},
		"no file":          {args: []string{"/nonexistent/recording"}, want: "open /nonexistent/recording: no such file or directory; name a recording, or - for standard input"},
		"folder":           {args: []string{"."}, want: "read .: read .: is a directory"},
		"none":             {args: []string{}, usage: true, want: "got none; name a file, or - for standard input"},
		"input twice":      {args: []string{"-", "-"}, usage: true, want: "- is named twice"},
		"load from a pipe": {args: []string{"--load", "-"}, usage: true, want: "--load reads its input twice"},
		"no learning":      {args: []string{"--learn=0s", "-"}, usage: true, want: "learn"},
		"unknown form":     {args: []string{"-o", "xml", "-"}, usage: true, want: `"xml" is not table, json or csv`},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.args == nil {
				tc.args = []string{"-"}
			}
			out, _, err := runReplay(t, tc.text, nil, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			var use *wrongUse
			if errors.As(err, &use) != tc.usage {
				t.Errorf("wrong use: %v", !tc.usage)
			}
			if out != "" {
				t.Errorf("printed %q", out)
			}
		})
	}
}

func TestReplaySkipsInvalidLines(t *testing.T) {
	recorded := strings.ReplaceAll(readFile(t, shopRecording), "\n", "\n{}\n"+strings.Repeat("x", maxLine+1)+"\n")
	out, errs, err := runReplay(t, recorded, nil, "--learn=30m", "--skip-invalid", "-")
	if err != nil || out != readFile(t, shopFindings) {
		t.Errorf("error %v\n got %s", err, out)
	}
	want := "replay: invalid lines skipped: 224; the first is standard input:2: parse observation: time is missing; "
	if !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
		t.Errorf("stderr %q", errs)
	}
	cut := zip(t, recorded)
	if _, _, err := runReplay(t, cut[:len(cut)-9], nil, "--skip-invalid", "-"); err == nil {
		t.Error("a recording that is cut short was taken")
	}
}

func TestReplayIsInterrupted(t *testing.T) {
	cmd := newReplayCommand(nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{shopRecording})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cmd.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Loading twice into a real store counts once.
func TestReplayLoad(t *testing.T) {
	config := store.Default()
	config.Socket = testenv.Engine(t)
	open := func(ctx context.Context) (loader, error) {
		s, err := store.Open(ctx, config)
		if err != nil {
			return nil, err
		}
		return storeLoader{s}, s.Migrate(ctx)
	}
	var lines []event.Finding
	for range 2 {
		out, _, err := runReplay(t, "", open, "--learn=30m", "--load", shopRecording)
		if err != nil {
			t.Fatal(err)
		}
		lines = nil
		for line := range strings.Lines(out) {
			var f event.Finding
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, f)
		}
	}
	want := map[string]uint64{}
	for line := range strings.Lines(readFile(t, shopRecording)) {
		o, err := event.ParseObservation([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if o.Direction == event.Outbound {
			want[o.Workload.Identity.String()] += o.Counts.Connections
		}
	}

	s, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	identities, _, err := s.Identities(t.Context(), store.IdentityFilter{})
	if err != nil || len(identities) != len(want) {
		t.Fatalf("%d identities, %v", len(identities), err)
	}
	for _, id := range identities {
		if got := id.Counts.Connections; got != want[id.Identity.String()] {
			t.Errorf("%s has %d connections, want %d", id.Identity, got, want[id.Identity.String()])
		}
	}
	found, _, err := s.Findings(t.Context(), store.FindingFilter{})
	if err != nil || len(found) != len(lines) || len(found) != 4 {
		t.Errorf("%d findings, %d printed, %v", len(found), len(lines), err)
	}
	nodes := map[string]int{}
	if err := s.EachNode(t.Context(), func(node string, spans []store.Span) error {
		nodes[node] = len(spans)
		return nil
	}); err != nil || nodes["n1"] != 1 || nodes["n2"] != 1 || len(nodes) != 2 {
		t.Errorf("watched %v, %v", nodes, err)
	}
}

// brokenLoader fails as a store that goes away would.
type brokenLoader struct {
	loaded, closed int
	fault          error
}

func (b *brokenLoader) Load(context.Context, string, []event.Observation) error {
	b.loaded++
	return b.fault
}

func (b *brokenLoader) Finish(context.Context, []event.Finding, []watchedSpan) error {
	return errors.New("finished after a fault")
}

func (b *brokenLoader) Close() error { b.closed++; return nil }

func TestReplayLoadFails(t *testing.T) {
	b := &brokenLoader{fault: errors.New("store went away")}
	open := func(context.Context) (loader, error) { return b, nil }
	out, _, err := runReplay(t, "", open, "--load", shopRecording)
	if !errors.Is(err, b.fault) || out != "" || b.loaded != 1 || b.closed != 1 {
		t.Errorf("got %v, %q, %+v", err, out, b)
	}
	*b = brokenLoader{fault: b.fault}
	if _, _, err := runReplay(t, "", open, "--load", writeFile(t, "a", readFile(t, shopRecording)+"x")); err == nil || b.loaded != 0 {
		t.Errorf("an invalid recording: %v, %+v", err, b)
	}
}

func BenchmarkReplay(b *testing.B) {
	info, err := os.Stat(shopRecording)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		cmd := newReplayCommand(nil)
		cmd.SetOut(&bytes.Buffer{})
		cmd.SetArgs([]string{"--learn=30m", shopRecording})
		if err := cmd.ExecuteContext(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
