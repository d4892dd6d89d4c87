package engine

import (
	"crypto/sha512"
	"encoding/base64"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// fetchTree is a repository with fetch.sh alone, and a npm in front of the
// path that does what script says.
func fetchTree(t *testing.T, integrity, npm string) (run func() (string, error), cache string) {
	t.Helper()
	for _, tool := range []string{"openssl", "flock", "tar"} {
		if _, err := osexec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	root := t.TempDir()
	script, err := os.ReadFile("fetch.sh")
	if err != nil {
		t.Fatal(err)
	}
	if integrity != "" {
		script = regexp.MustCompile(`(?m)^integrity=.*$`).ReplaceAll(script, []byte("integrity="+integrity))
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("collector/engine/fetch.sh", string(script))
	write("bin/npm", "#!/bin/sh\n"+npm)
	return func() (string, error) {
		cmd := osexec.Command(filepath.Join(root, "collector/engine/fetch.sh"))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"), "ROOT="+root)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}, filepath.Join(root, ".cache")
}

// packed makes an archive with a libchdb.so like npm's, and its integrity.
func packed(t *testing.T) (path, integrity string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "package"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libchdb.so", "other.node"} {
		if err := os.WriteFile(filepath.Join(dir, "package", name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "chdb.tgz")
	if out, err := osexec.Command("tar", "-czf", path, "-C", dir, "package").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	return path, "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestFetchOnce(t *testing.T) {
	archive, integrity := packed(t)
	run, cache := fetchTree(t, integrity, `echo called >>"$ROOT/calls"; cp `+archive+` .`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if out, err := run(); err != nil {
				t.Errorf("fetch: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	calls, err := os.ReadFile(filepath.Join(cache, "../calls"))
	if err != nil || string(calls) != "called\n" {
		t.Errorf("npm was called %q (%v), want once", calls, err)
	}
	if got, err := os.ReadFile(filepath.Join(cache, "libchdb.so")); err != nil || string(got) != "libchdb.so" {
		t.Errorf("library holds %q (%v)", got, err)
	}
	left, err := filepath.Glob(filepath.Join(cache, ".fetch.[0-9]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if out, err := run(); err != nil || out != "" {
		t.Errorf("second fetch said %q (%v), want nothing", out, err)
	}
}

func TestFetchErrors(t *testing.T) {
	archive, _ := packed(t)
	for name, f := range map[string]struct{ npm, want string }{
		"wrong checksum": {"cp " + archive + " .", "checksum of"},
		"no network":     {"echo npm error code ECONNREFUSED >&2; exit 1", "(ECONNREFUSED); check the network"},
		"no archive":     {"exit 0", "left no archive"},
	} {
		t.Run(name, func(t *testing.T) {
			run, cache := fetchTree(t, "", f.npm)
			out, err := run()
			if err == nil {
				t.Fatalf("no error: %s", out)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; len(lines) != 2 || !strings.HasPrefix(last, "fetch engine: ") || !strings.Contains(last, f.want) {
				t.Errorf("said %q, want one line with %q", out, f.want)
			}
			if _, err := os.Stat(filepath.Join(cache, "libchdb.so")); err == nil {
				t.Error("library was installed")
			}
		})
	}
}
