package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	file := func(path ...string) string {
		t.Helper()
		p := filepath.Join(append([]string{root}, path...)...)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := func(what, configured, env, wantPath string) {
		t.Helper()
		got, err := find(configured, env, filepath.Join(root, "tree", "bin", "ambit"))
		if err != nil || got != wantPath {
			t.Errorf("%s: found %q (%v), want %q", what, got, err, wantPath)
		}
	}
	refused := func(what, configured, env string, says ...string) {
		t.Helper()
		got, err := find(configured, env, filepath.Join(root, "tree", "bin", "ambit"))
		if err == nil {
			t.Errorf("%s: found %q", what, got)
			return
		}
		for _, s := range append(says, "make engine") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q does not say %q", what, err, s)
			}
		}
	}
	t.Chdir(t.TempDir())
	refused("nothing anywhere", "", "", "libchdb.so", "AMBIT_CLICKHOUSE_LIBRARY")
	// Each place comes before those that were filled first.
	want("beside the binary's folder", "", "", file("tree", ".cache", "libchdb.so"))
	work := filepath.Join(root, "work")
	cached := file("work", ".cache", "libchdb.so")
	t.Chdir(work)
	want(".cache here", "", "", cached)
	want("beside the binary", "", "", file("tree", "bin", "libchdb.so"))
	env := file("env.so")
	want("environment", "", env, env)
	configured := file("configured.so")
	want("configuration", configured, env, configured)

	refused("configured and absent", filepath.Join(root, "absent.so"), env, "absent.so", "clickhouse.library")
	refused("environment and absent", "", filepath.Join(root, "absent.so"), "absent.so", "AMBIT_CLICKHOUSE_LIBRARY")
	refused("a folder", root, "", "not a regular file")
}
