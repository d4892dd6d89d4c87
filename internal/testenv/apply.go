package testenv

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// Apply has the API server apply the objects of a manifest that is deployed as it stands.
func (c *Cluster) Apply(path string) {
	c.t.Helper()
	file, err := os.Open(path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	if err := c.ApplyAll(file); err != nil {
		c.t.Fatalf("apply %s: %v", path, err)
	}
}

// ApplyAll has the API server apply objects, as `kubectl apply --server-side` does, which validates every field of them; one that is not known is an
// error. It says which object it did not take.
func (c *Cluster) ApplyAll(manifest io.Reader) error {
	known := map[string]resource{}
	for documents := yaml.NewDecoder(manifest); ; {
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
		version, _ := object["apiVersion"].(string)
		meta, _ := object["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		namespace, _ := meta["namespace"].(string)
		if known[version+kind].plural == "" {
			if err := c.discover(version, known); err != nil {
				return err
			}
		}
		r := known[version+kind]
		if r.plural == "" {
			return fmt.Errorf("the API has no %s in %s", kind, version)
		}
		path := apiOf(version)
		if r.namespaced {
			if namespace == "" {
				return fmt.Errorf("%s %s has no namespace", kind, name)
			}
			path += "/namespaces/" + namespace
		}
		path += "/" + r.plural + "/" + name + "?fieldManager=ambit-tests&fieldValidation=Strict"
		if err := c.callAs(http.MethodPatch, path, "application/apply-patch+yaml", object, nil); err != nil {
			return fmt.Errorf("%s %s: %w", kind, name, err)
		}
	}
}

// resource is how objects of a kind are asked for.
type resource struct {
	plural     string
	namespaced bool
}

func apiOf(version string) string {
	if strings.Contains(version, "/") {
		return "/apis/" + version
	}
	return "/api/" + version
}

// discover asks what a version of the API has.
func (c *Cluster) discover(version string, known map[string]resource) error {
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	if err := c.call(http.MethodGet, apiOf(version), nil, &list); err != nil {
		return fmt.Errorf("ask for %s: %w", version, err)
	}
	for _, r := range list.Resources {
		if !strings.Contains(r.Name, "/") {
			known[version+r.Kind] = resource{r.Name, r.Namespaced}
		}
	}
	return nil
}

// Program gives the path of a program that a make target builds into a folder of .cache. It skips the test where it is not there, and fails it in CI.
func Program(t testing.TB, folder, name, target string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := root + "/.cache/" + folder + "/" + name
	if _, err := os.Stat(path); err != nil {
		missing(t, fmt.Sprintf("no %s: %v; run make %s", name, err, target))
	}
	return path
}

// Await waits until the API has something at a path, such as a kind that was defined a moment ago.
func (c *Cluster) Await(t testing.TB, path string) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = c.call(http.MethodGet, path, nil, nil); err == nil {
			return
		}
	}
	t.Fatalf("wait for %s: %v", path, err)
}
