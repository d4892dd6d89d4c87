// Package deploy has only tests: of what is deployed, with the tools and the API server that take it.
package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// helm runs helm, and gives what it printed.
func helm(t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(testenv.Program(t, "deploy", "helm", "deploy-tools"), args...)
	home := t.TempDir() // helm keeps caches
	cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// scenarios are files of values that people would use.
func scenarios(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	return files
}

func render(t *testing.T, values string, more ...string) string {
	t.Helper()
	out, errs, err := helm(t, append([]string{"template", "ambit", "chart", "--namespace", namespace(values), "--values", values}, more...)...)
	if err != nil {
		t.Fatalf("render %s: %v: %s", values, err, errs)
	}
	return out
}

func TestChartLint(t *testing.T) {
	for _, values := range scenarios(t) {
		if out, errs, err := helm(t, "lint", "chart", "--strict", "--values", values); err != nil {
			t.Errorf("%s: %v: %s%s", values, err, out, errs)
		}
	}
}

// namespace is one for each scenario.
func namespace(values string) string {
	return "ambit-" + strings.TrimSuffix(filepath.Base(values), ".yaml")
}

// monitoring stands for the kinds of the Prometheus operator, which accept any fields here: they show that the manifests are well-formed.
const monitoring = `
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: KINDs.monitoring.coreos.com},
 spec: {group: monitoring.coreos.com, scope: Namespaced, names: {kind: NAME, plural: KINDs, singular: KIND},
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
`

// TestChartApplies has a real API server take every object of every scenario, and then those of an upgrade.
func TestChartApplies(t *testing.T) {
	c := testenv.Kubernetes(t)
	apply := func(what, manifest string) {
		t.Helper()
		if err := c.ApplyAll(strings.NewReader(manifest)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"ServiceMonitor", "PrometheusRule"} {
		kind := strings.ToLower(name)
		apply(name, strings.NewReplacer("KIND", kind, "NAME", name).Replace(monitoring))
	}
	c.Await(t, "/apis/monitoring.coreos.com/v1")
	for _, values := range scenarios(t) {
		apply("namespace", "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace(values)+"}}")
		apply(values, render(t, values))
		apply(values+" upgraded", render(t, values, "--no-hooks", "--set", "image.tag=9.9.9,log.level=debug,collector.replicas=5"))
	}
	testManifestsApply(t, c)
}

// testManifestsApply has it take the plain manifests, as they stand.
func testManifestsApply(t *testing.T, c *testenv.Cluster) {
	files, err := filepath.Glob("manifests/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d plain manifests: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = c.ApplyAll(bytes.NewReader(text))
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestChartRefuses checks that what cannot work is refused in words that help.
func TestChartRefuses(t *testing.T) {
	f := func(set string, want ...string) {
		t.Helper()
		_, errs, err := helm(t, "template", "ambit", "chart", "--values", "testdata/values/files.yaml", "--set", set)
		if err == nil {
			t.Errorf("%s is accepted", set)
		}
		for _, w := range want {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: %q does not say %q", set, errs, w)
			}
		}
	}
	f("agent.tolerance=1", "agent", "tolerance")
	f("agents.enabled=true", "agents")
	f("log.level=loud", "log/level")
	f("agent.deny=maybe", "agent/deny")
	f("agent.interval=10", "agent/interval")
	f("partitions=0", "partitions")
	f("collector.replicas=many", "collector/replicas")
	f("metrics.port=70000", "metrics/port")
	f("nats.urls={nats://plain.example:4222}", "nats/urls")
	f("image.digest=latest", "image/digest")
	f("nats.urls=null", "nats.urls names no server", "nats.install=true")
	f("nats.tlsSecret=", "no certificate for NATS", "spiffe.enabled", "nats.tlsSecret")
	f("spiffe.enabled=true", "nats.serverIDs is empty")
	f("clickhouse.addresses=null", "clickhouse.addresses names no server")
	f("collector.api.tlsSecret=api", "collector.api.auth is empty")
	f("nats.urls=null,nats.install=true", "nats.serverTLSSecret is empty")
	f("nats.serviceAccountTokens.enabled=true", "nats.serviceAccountTokens.issuerSecret is empty")
	f("nats.serviceAccountTokens.enabled=true,nats.serviceAccountTokens.issuerSecret=x", "nats.collectorTLSSecret is empty")
	f("nats.serviceAccountTokens.enabled=true,nats.serviceAccountTokens.issuerSecret=x,nats.collectorTLSSecret=ambit-nats", "the same as nats.tlsSecret")
	f("nats.serviceAccountTokens.issuer=SAAA", "serviceAccountTokens/issuer")
	f("nats.urls=null,nats.install=true,nats.serverTLSSecret=x,nats.serviceAccountTokens.enabled=true", "nats.serviceAccountTokens.issuer")
	f("nats.urls=null,nats.install=true,nats.serverTLSSecret=x,nats.users=users,nats.collectorTLSSecret=x,nats.serviceAccountTokens.enabled=true,nats.serviceAccountTokens.issuerSecret=x",
		"nats.serviceAccountTokens.issuer is empty")
	f("collector.api.oidcSecret=x", "collector.api.tlsSecret is not")
	f("collector.api.ingress.enabled=true", "collector.api.tlsSecret is not")
	f("collector.api.ingress.host=Not a name", "ingress/host")
	f("agent.seccompProfile.type=None", "seccompProfile/type")
	f("agent.uninstall.wait=soon", "uninstall/wait")
	f("agent.uninstall.purge=true", "uninstall", "purge")
	f("collector.learn=soon", "collector/learn")
	f("collector.storage.size=many", "storage/size")
	f("spiffe.hostPath=relative", "spiffe/hostPath")
	f("nats.storage=10", "nats/storage")
	f("agent.spool.maxBytes=1", "spool/maxBytes")
	f("trustDomain=Not Valid", "trustDomain")
	f("clickhouse.addresses={ch}", "clickhouse/addresses")
	f("image.pullPolicy=Sometimes", "image/pullPolicy")
	f("networkPolicy.enabled=maybe", "networkPolicy/enabled")
	f("clickhouse.addresses=null,clickhouse.install=true", "clickhouse.serverTLSSecret is empty")
}

// TestAlerts has Prometheus' own tool read the alerts.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no promtool: install Debian's prometheus")
		}
		t.Skip("no promtool: install Debian's prometheus")
	}
	for _, args := range [][]string{{"check", "rules", "chart/files/monitoring/alerts.yaml"}, {"test", "rules", "testdata/alerts_test.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRights holds the rights that the chart gives to those that the tests of the programs run with.
func TestRights(t *testing.T) {
	type role struct {
		Kind     string
		Metadata struct{ Name string }
		Rules    []map[string][]string
	}
	rules := func(manifest io.Reader) map[string][]map[string][]string {
		all := map[string][]map[string][]string{}
		for documents := yaml.NewDecoder(manifest); ; {
			var r role
			err := documents.Decode(&r)
			if errors.Is(err, io.EOF) {
				return all
			}
			if err == nil && r.Kind == "ClusterRole" {
				all[r.Metadata.Name] = append(all[r.Metadata.Name], r.Rules...)
			}
		}
	}
	// with collector.legacyTokens and nats.serviceAccountTokens
	got := rules(strings.NewReader(render(t, "testdata/values/exposed.yaml", "--set", "nats.serviceAccountTokens.enabled=true,nats.serviceAccountTokens.issuerSecret=x")))
	for name, files := range map[string][]string{"ambit-agent": {"agent"}, "ambit-collector": {"collector", "collector-legacy-tokens", "collector-nats-tokens"}} {
		var want []map[string][]string
		for _, file := range files {
			f, err := os.Open("rbac/" + file + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, r := range rules(f) {
				want = append(want, r...)
			}
		}
		sorted := func(rules []map[string][]string) (out []string) {
			for _, r := range rules {
				for _, values := range r {
					slices.Sort(values)
				}
				out = append(out, fmt.Sprint(r))
			}
			slices.Sort(out)
			return out
		}
		if g, w := sorted(got[name]), sorted(want); !slices.Equal(g, w) || len(g) == 0 {
			t.Errorf("%s may %v, the tests run with %v", name, g, w)
		}
	}
}

// TestCapabilities holds the documentation of the agent's capabilities to those that the chart gives.
func TestCapabilities(t *testing.T) {
	manifest := render(t, "testdata/values/files.yaml")
	_, after, _ := strings.Cut(manifest, "add:")
	var got []string
	for line := range strings.Lines(after) {
		name, isItem := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !isItem && strings.TrimSpace(line) != "" {
			break
		}
		if isItem {
			name, _, _ = strings.Cut(name, " ")
			got = append(got, name)
		}
	}
	if want := []string{"BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"}; !slices.Equal(got, want) {
		t.Errorf("the agent gets %v, want %v", got, want)
	}
}

// TestChartServers has the NATS server read what the chart gives to those that it installs.
func TestChartServers(t *testing.T) {
	ca := testenv.NewCA(t, "shop")
	for _, values := range []string{"testdata/values/install.yaml", "testdata/values/tokens.yaml"} {
		dir := t.TempDir()
		cert, key := ca.Issue(testenv.Leaf{URIs: []string{"spiffe://shop.example/ns/nats/sa/nats"}}).PEM()
		files := map[string]string{"tls.crt": string(cert), "tls.key": string(key), "ca.crt": string(testenv.CertificatePEM(ca.Certificate))}
		for documents := yaml.NewDecoder(strings.NewReader(render(t, values))); ; {
			var object struct {
				Kind     string
				Metadata struct{ Name string }
				Data     map[string]string
			}
			if err := documents.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err == nil && object.Kind == "ConfigMap" && object.Metadata.Name == "ambit-nats" {
				for name, text := range object.Data {
					files[name] = strings.NewReplacer("/etc/nats/tls/", dir+"/", "/data", dir+"/data").Replace(text)
				}
			}
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("POD_NAME", "ambit-nats-0")
		o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
		if err != nil {
			t.Errorf("%s: %v", values, err)
			continue
		}
		if tokens := strings.Contains(values, "tokens"); (o.AuthCallout != nil) != tokens || o.ServerName != "ambit-nats-0" || !o.TLSMap || len(o.Users) == 0 {
			t.Errorf("%s: the server understands callout %v, name %s, %d users", values, o.AuthCallout, o.ServerName, len(o.Users))
		}
		for _, u := range o.Users {
			if u.Permissions == nil {
				t.Errorf("%s: %s may do everything", values, u.Username)
			}
		}
	}
}
