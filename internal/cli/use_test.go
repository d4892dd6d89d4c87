package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ambit runs a command line as main does.
func ambit(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// refused checks that a command line ends with a code and one line that says everything in want.
func refused(t *testing.T, code int, args []string, want ...string) {
	t.Helper()
	got, out, errs := ambit(t, args...)
	line := strings.TrimSuffix(errs, "\n")
	if got != code || out != "" || !strings.HasPrefix(line, "ambit: ") || strings.Contains(line, "\n") {
		t.Errorf("ambit %s: exit code %d, want %d, with one line; it says %q %q", strings.Join(args, " "), got, code, out, errs)
	}
	for _, w := range want {
		if !strings.Contains(line, w) {
			t.Errorf("ambit %s: %q does not say %q", strings.Join(args, " "), line, w)
		}
	}
}

func TestWrongUse(t *testing.T) {
	f := func(line string, want ...string) {
		t.Helper()
		refused(t, exitUsage, strings.Fields(line), want...)
	}
	f("idnetities", "idnetities", "did you mean identities?", "ambit --help")
	f("watch-everything", "watch-everything", "ambit --help")
	f("report unusd", "did you mean unused?", "ambit report --help")
	f("up --lern 1h", "--lern", "did you mean --learn?", "ambit up --help")
	f("up --wholly-unknown", "unknown flag --wholly-unknown;")
	f("up -x", "-x")
	f("up now", "no argument", `"now"`)
	f("up --learn soon", "soon", "--learn")
	f("up --learn", "--learn")
	f("up --learn -1h", "-1h")
	f("up --interval 1ms --no-agent", "interval")
	f("up --interval 301s --no-agent", "interval", "5m")
	f("up --trust-domain Not/One --no-agent", "trust_domain")
	f("agent", "nats.urls", "ambit up")
	f("reach", "one argument", "got 0")
	refused(t, exitUsage, []string{"reach", ""}, "one argument", "empty")
	f("reach a b", "one argument", "got 2")
	f("identities -o xml", "xml", "table, json or csv")
	f("identities --limit -1", "-1")
	f("identities --window 90d", "--unattributed")
	f("identities --expiring soon", "soon", "--expiring")
	f("identities checkout --expiring 7d", "--expiring", "the list")
	f("identities --limit 3 checkout", "--limit", "the list")
	f("identities a b", "one argument", "got 2")
	refused(t, exitUsage, []string{"identities", ""}, "one argument", "empty")
	f("identities --unattributed --window 90", "90d")
	f("identities --server ftp://x", "ftp://x")
	f("identities --server http://127.0.0.1:1/path", "/path")
	f("inventory export", "unknown command", "did you mean import?")
	f("inventory import", "at least one", "ambit inventory import --help")
	f("inventory import --format xml list.xml", "xml", "csv, json or spire")
	f("inventory import --source x a.csv b.csv", "--source", "2 files")
	f("inventory import -", "--source")
	f("inventory import a/list.csv b/list.json", "list", "twice")
	f("inventory list --limit -1", "-1")
	f("findings --follow -o csv", "--follow")
	f("report unused --window 90", "90d")
	for _, command := range []string{"", "up", "agent", "collector", "clickhouse", "doctor", "identities", "inventory", "inventory import", "inventory list", "reach", "findings", "report", "report unused", "report coverage", "replay", "version"} {
		code, out, errs := ambit(t, append(strings.Fields(command), "--help")...)
		if code != exitGood || !strings.Contains(out, "Usage:") || errs != "" {
			t.Errorf("%s --help: %d %q %q", command, code, out, errs)
		}
	}
	if code, out, _ := ambit(t, "version", "-o", "json"); code != exitGood || !strings.HasPrefix(out, `{"version":`) {
		t.Errorf("version: %d %q", code, out)
	}
	if code, out, _ := ambit(t); code != exitGood || !strings.Contains(out, "ambit up") {
		t.Errorf("no arguments: %d %q", code, out)
	}
}

func TestConfiguration(t *testing.T) {
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", os.Args[0]) // some file: nothing gets as far as to load it
	dir := t.TempDir()
	n := 0
	file := func(text string) string {
		n++
		name := filepath.Join(dir, fmt.Sprintf("%d.yaml", n))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	f := func(text string, want ...string) {
		t.Helper()
		name := file(text)
		refused(t, exitUsage, []string{"up", "--no-agent", "--data", filepath.Join(dir, "data"), "--config", name}, append(want, filepath.Base(name))...)
	}
	g := func(text string, want ...string) { // the key is named, not the file
		t.Helper()
		refused(t, exitUsage, []string{"up", "--no-agent", "--data", filepath.Join(dir, "data"), "--config", file(text)}, want...)
	}
	f("lern: 1h", "unknown key lern", "did you mean learn?")
	f("nats:\n  url: [x]", "unknown key nats.url", "did you mean nats.urls?")
	g("kubernetes: {cluster_domain: '../x y'}", "kubernetes.cluster_domain", "no domain name")
	g("containers: {sockets: [docker.sock]}", "containers.sockets", "no absolute path")
	f("collector:\n  lern: 1h", "unknown key collector.lern", "did you mean learn?")
	f("detector:\n  polici: []", "unknown key detector.polici", "did you mean detector.policy?")
	g("detector: {policy: [{rule: new-reech, off: true}]}", "new-reech", "new-reach")
	f("something: else", "unknown key something")
	f("nats: 5", "nats")
	f("learn: {days: 3}", "learn")
	f("learn: [")
	f("- a")
	g("learn: soon", "learn", "soon")
	g("nats: {max_bytes: many}", "nats.max_bytes")
	g("nats: {max_bytes: 5}", "nats.max_bytes")
	g("retention: {observations: 1h}", "retention.observations")
	g("clickhouse: {addresses: ['192.0.2.1:1'], username: ''}", "clickhouse.username")
	for _, urls := range []string{"['user:geheim@127.0.0.1']", "['nats://user:geheim@127.0.0.1:x']", "[[geheim]]", "[{a: geheim}]"} {
		text := "nats: {urls: " + urls + "}"
		g(text, "nats.urls")
		if _, _, errs := ambit(t, "up", "--no-agent", "--config", file(text)); strings.Contains(errs, "geheim") {
			t.Errorf("a password shows: %s", errs)
		}
	}
	g("partitions: 0", "partitions")
	g("log: {level: loud}", "log.level", "loud")
	g("log: {format: xml}", "log.format", "xml", "text or json")
	g("pprof: '0.0.0.0:6060'", "pprof: 0.0.0.0:6060 is not a loopback address", "use 127.0.0.1:6060")
	g("pprof: example.com:6060", "pprof", "loopback")
	g("pprof: '6060'", "pprof", "<host>:<port>")
	g("metrics: '9480'", "metrics", "127.0.0.1:6060")
	g("node: 'a b'", "node")
	g("nats: {urls: ['nats://192.0.2.1:4222']}\nclickhouse: {addresses: ['192.0.2.1:9000']}", "nats.urls", "192.0.2.1")
	refused(t, exitFailed, []string{"up", "--no-agent", "--config", filepath.Join(dir, "none.yaml")}, "none.yaml", "no such file")

	// The file is over defaults, the environment over the file, flags over all.
	t.Setenv("AMBIT_NODE", "from-environment")
	t.Setenv("AMBIT_LEARN", "2w")
	t.Setenv("AMBIT_NATS_URLS", "nats://127.0.0.1:1,nats://127.0.0.1:2")
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", "/lib/x")
	t.Setenv("AMBIT_TRUST_DOMIAN", "typing.error")
	cmd := newUpCommand()
	if err := cmd.ParseFlags([]string{"--interval", "3s", "--learn", "1d", "--config",
		file("node: from-file\ntrust_domain: file.example\ninterval: 5s\nretention:\n  observations: 7d\nnats:\n")}); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(c.Node, c.TrustDomain, c.Interval, c.Learn, c.ClickHouse.Retention.Observations, c.ClickHouse.Library, c.ClickHouse.Database, c.NATS.URLs)
	const want = "from-environment file.example 3s 24h0m0s 168h0m0s /lib/x ambit [nats://127.0.0.1:1 nats://127.0.0.1:2]\n"
	if got != want {
		t.Errorf("got %swant %s", got, want)
	}
	if got := strings.Join(unknownEnvironment(), " "); !strings.Contains(got, "AMBIT_TRUST_DOMIAN, did you mean AMBIT_TRUST_DOMAIN?") {
		t.Errorf("unknown variables: %s", got)
	}
}

func TestRefusalsOfUp(t *testing.T) {
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", os.Args[0])
	data := filepath.Join(t.TempDir(), "data")
	up := func(args ...string) []string {
		return append([]string{"up", "--no-agent", "--listen", "127.0.0.1:0"}, args...)
	}

	lock, err := lockFolder(data)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, up("--data", data), data, fmt.Sprintf("pid %d", os.Getpid()), "--data")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	refused(t, exitFailed, up("--data", data, "--listen", address), address, "in use", "--listen")
	refused(t, exitFailed, up("--data", data, "--listen", "0.0.0.0:8480"), "0.0.0.0:8480", "loopback")
	refused(t, exitFailed, up("--data", data, "--listen", "8480"), "8480", "127.0.0.1:8480")

	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, up("--data", filepath.Join(plain, "data")), plain, "--data")
	refused(t, exitFailed, up("--data", "/proc/ambit-data"), "/proc/ambit-data", "--data")

	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", filepath.Join(data, "none.so"))
	refused(t, exitFailed, up("--data", data), "none.so")

	free := address
	taken.Close()
	refused(t, exitFailed, []string{"identities", "--server", "http://" + free}, free, "ambit up", "--server")
	refused(t, exitFailed, []string{"findings", "--follow", "--server", "http://" + free}, free, "ambit up")
}

// TestDefaultLogger checks that parts which log without a logger of their own follow the configuration.
func TestDefaultLogger(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	t.Setenv("AMBIT_LOG_LEVEL", "error")
	t.Setenv("AMBIT_CLICKHOUSE_LIBRARY", os.Args[0])
	for _, args := range [][]string{{"up", "--no-agent", "--listen", "0.0.0.0:1"}, {"collector", "--listen", "0.0.0.0:1"}} {
		var errs bytes.Buffer
		if code := run(t.Context(), args, io.Discard, &errs); code != exitFailed {
			t.Fatalf("%v: %d %s", args, code, &errs)
		}
		errs.Reset()
		slog.Warn("a warning")
		slog.Error("an error", "of", args[0])
		if got := errs.String(); strings.Contains(got, "warning") || !strings.Contains(got, `level=ERROR msg="an error" of=`+args[0]) {
			t.Errorf("%v: the log is %q", args, got)
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("learn: 1h\nnats: {urls: [a]}")
	f.Add("detector: {learn: {x: y}}")
	f.Add("? [a]\n: b")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		values, err := readConfigFile(name)
		if err == nil {
			for key := range values {
				known := false
				for k := range configKeys() {
					known = known || k == key || strings.HasPrefix(k, key+".")
				}
				if !known {
					t.Errorf("key %q passed", key)
				}
			}
		} else if strings.Contains(oneLine(err), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	})
}
