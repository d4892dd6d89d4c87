package testenv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Apply creates the objects of a manifest that is deployed as it stands: namespaces, service accounts, and what RBAC is made of.
func (c *Cluster) Apply(path string) {
	c.t.Helper()
	if err := c.apply(path); err != nil {
		c.t.Fatalf("apply %s: %v", path, err)
	}
}

func (c *Cluster) apply(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for documents := yaml.NewDecoder(file); ; {
		var object map[string]any
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object) == 0 {
			continue
		}
		kind, _ := object["kind"].(string)
		group, _ := object["apiVersion"].(string)
		meta, _ := object["metadata"].(map[string]any)
		namespace, _ := meta["namespace"].(string)
		resource, known := map[string]string{
			"Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings",
			"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
		}[kind]
		if !known {
			return fmt.Errorf("kind %q is not one that tests apply", kind)
		}
		at := "/apis/" + group
		if !strings.Contains(group, "/") {
			at = "/api/" + group
		}
		if namespace != "" {
			at += "/namespaces/" + namespace
		}
		if err := c.call("POST", at+"/"+resource, object, nil); err != nil {
			return err
		}
	}
}
