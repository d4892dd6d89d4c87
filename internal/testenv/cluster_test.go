package testenv

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestKubernetes(t *testing.T) {
	var pids []int
	var dir string
	t.Run("use", func(t *testing.T) {
		c := Kubernetes(t)
		dir = c.dir
		pids = append(pids, c.store.cmd.Process.Pid, c.server.cmd.Process.Pid)
		type meta map[string]any
		create := func(path string, object meta) {
			t.Helper()
			if err := c.call("POST", path, object, nil); err != nil {
				t.Fatal(err)
			}
		}
		create("/api/v1/namespaces", meta{"metadata": meta{"name": "shop"}})
		create("/api/v1/namespaces/shop/serviceaccounts", meta{"metadata": meta{"name": "reader"}})
		create("/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles", meta{
			"metadata": meta{"name": "reader"},
			"rules":    []meta{{"apiGroups": []string{""}, "resources": []string{"pods"}, "verbs": []string{"list"}}},
		})
		create("/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings", meta{
			"metadata": meta{"name": "reader"},
			"roleRef":  meta{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
			"subjects": []meta{{"kind": "ServiceAccount", "namespace": "shop", "name": "reader"}},
		})
		c.Apply("../../deploy/rbac/agent.yaml")
		agent := *c
		agent.token = tokenIn(t, c.KubeconfigFor("ambit", "ambit-agent"))
		if err := agent.call("GET", "/api/v1/pods", nil, nil); err != nil {
			t.Errorf("what the agent's manifest allows: %v", err)
		}
		// The store is compacted while the server is away: data stays, old revisions go.
		c.Stop()
		if err := c.call("GET", "/readyz", nil, nil); err == nil {
			t.Error("the stopped API server answers")
		}
		c.Compact()
		c.Start()
		pids = append(pids, c.server.cmd.Process.Pid)
		limited := c.KubeconfigFor("shop", "reader")
		if text, err := os.ReadFile(limited); err != nil || strings.Contains(string(text), c.token) {
			t.Errorf("the service account's kubeconfig holds the administrator's token (%v)", err)
		}
		bearer := *c
		bearer.token = tokenIn(t, limited)
		if err := bearer.call("GET", "/api/v1/namespaces/shop/pods", nil, nil); err != nil {
			t.Errorf("what RBAC allows: %v", err)
		}
		for _, path := range []string{"/api/v1/namespaces/shop/secrets", "/api/v1/pods"} {
			if err := bearer.call("GET", path, nil, nil); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("what RBAC does not allow, %s: %v", path, err)
			}
		}
		var event struct {
			Type   string
			Object struct{ Code int }
		}
		if err := c.call("GET", "/api/v1/namespaces?watch=true&resourceVersion=1", nil, &event); err != nil || event.Object.Code != 410 {
			t.Errorf("watch from a compacted revision: %+v, %v; want code 410", event, err)
		}
	})
	for _, pid := range pids {
		if comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil {
			t.Errorf("process %d (%s) is left behind", pid, comm)
		}
	}
	if _, err := os.Stat(dir); dir != "" && !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
}

func tokenIn(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), `"token":"`)
	token, _, _ := strings.Cut(after, `"`)
	return token
}
