package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/ambit-nhi/ambit"

// allowed says which of our packages the packages below a folder may import; their own subfolders always. What is not listed may import nothing
// of ours. The command line and the tests' helpers may import everything.
var allowed = map[string][]string{
	"":             {"internal/cli"},
	"event":        {},
	"bpf":          {},
	"agent":        {"bpf", "event", "internal/lru"},
	"detector":     {"event", "internal/lru", "internal/nearest"},
	"collector":    {"detector", "event", "internal/lru", "internal/nearest"},
	"internal/lru": {},
	"internal/sim": {"event"},
}

// only says which packages alone may import a foreign one.
var only = map[string][]string{
	"github.com/ClickHouse/clickhouse-go":        {"collector/store", "internal/chaos", "internal/pipelinebench"},
	"github.com/ClickHouse/ch-go":                {"collector/engine"},
	"github.com/ebitengine/purego":               {"collector/engine"},
	"github.com/cilium/ebpf":                     {"bpf", "internal/nodebench"}, // there: empty programs, to compare with
	"k8s.io":                                     {"agent/kube", "collector/inventory/kube", "collector/natsauth", "internal/testenv"},
	"github.com/ti-mo/conntrack":                 {"agent/peer"},
	"github.com/spiffe/go-spiffe/v2/workloadapi": {"internal/svid"},
	"github.com/spf13":                           {"internal/cli"},
}

func TestImportsRunOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		self := ours(p.ImportPath)
		for _, i := range p.Imports {
			if strings.HasPrefix(i, module) && !mayImport(self, ours(i)) {
				t.Errorf("%s imports %s", self, ours(i))
			}
			for foreign, who := range only {
				if strings.HasPrefix(i, foreign) && !anyBelow(who, self) {
					t.Errorf("%s imports %s, which is for %s alone", self, i, strings.Join(who, " and "))
				}
			}
		}
	}
	if packages < 10 {
		t.Errorf("only %d packages were looked at", packages)
	}
}

func ours(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

func mayImport(from, to string) bool {
	for _, free := range []string{"internal/agentbench", "internal/chaos", "internal/cli", "internal/demo", "internal/detectbench", "internal/e2e", "internal/kernels", "internal/nodebench",
		"internal/pipelinebench", "internal/testenv", "internal/tlsbench"} {
		if below(from, free) {
			return true
		}
	}
	for folder, may := range allowed {
		if folder == "" && from != "" || !below(from, folder) {
			continue
		}
		return folder != "" && below(to, folder) || anyBelow(may, to)
	}
	return false
}

func anyBelow(folders []string, path string) bool {
	for _, f := range folders {
		if below(path, f) {
			return true
		}
	}
	return false
}

func below(path, folder string) bool {
	return folder == "" || path == folder || strings.HasPrefix(path, folder+"/")
}
