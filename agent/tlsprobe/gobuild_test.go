package tlsprobe

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const gotlsSource = "gotls_program_test.go"

// goReleases are the toolchains whose programs are read in the tests: the last of each minor version that is known.
var goReleases = []string{"go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.5", runtime.Version()}

// goLink is a way to link a program.
type goLink struct {
	name  string
	flags []string
	cgo   bool
}

var goLinks = []goLink{
	{"plain", nil, false},
	{"pie", []string{"-buildmode=pie"}, false},
	{"external", []string{"-ldflags=-linkmode=external"}, true},
	{"external-pie", []string{"-buildmode=pie", "-ldflags=-linkmode=external"}, true},
	{"external-static", []string{"-tags=netgo,osusergo", "-ldflags=-linkmode=external -extldflags=-static"}, true},
}

var builds struct {
	sync.Mutex
	folder string
	made   map[string]func() (string, error)
}

func removeBuilds() {
	if builds.folder != "" {
		os.RemoveAll(builds.folder)
	}
}

// buildGo builds gotls with a toolchain, once for all tests.
func buildGo(t *testing.T, release string, link goLink) string {
	t.Helper()
	name := release + "-" + link.name
	builds.Lock()
	if builds.folder == "" {
		folder, err := os.MkdirTemp("", "tlsprobe")
		if err != nil {
			builds.Unlock()
			t.Fatal(err)
		}
		builds.folder, builds.made = folder, make(map[string]func() (string, error))
	}
	if builds.made[name] == nil {
		folder := builds.folder
		builds.made[name] = sync.OnceValues(func() (string, error) { return build(folder, name, release, link) })
	}
	made := builds.made[name]
	builds.Unlock()
	path, err := made()
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "" {
		t.Skipf("no program of %s: %v", release, err)
	}
	t.Fatal(err)
	return ""
}

func build(folder, name, release string, link goLink) (string, error) {
	source := filepath.Join(folder, "source")
	if err := os.MkdirAll(source, 0o700); err != nil {
		return "", err
	}
	program, err := os.ReadFile(gotlsSource)
	if err != nil {
		return "", err
	}
	program = bytes.Replace(program, []byte("package tlsprobe\n"), []byte("package main\n"), 1)
	program = append(program, "\nfunc main() { gotlsMain() }\n"...)
	for file, text := range map[string]string{"go.mod": "module gotls\n\ngo 1.21\n", "main.go": string(program)} {
		if err := os.WriteFile(filepath.Join(source, file), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	path := filepath.Join(folder, name)
	c := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", path}, link.flags...), ".")...)
	c.Dir = source
	cgo := "CGO_ENABLED=0"
	if link.cgo {
		cgo = "CGO_ENABLED=1"
	}
	toolchain := release
	if release == runtime.Version() {
		toolchain = "local"
	}
	c.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOWORK=off", "GOFLAGS=", cgo)
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with %s: %w: %s", release, err, strings.TrimSpace(string(out)))
	}
	return path, nil
}

// noTLS builds a program that has nothing to watch in.
func noTLS(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for file, text := range map[string]string{"go.mod": "module quiet\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() { println(1) }\n"} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("go", "build", "-trimpath", "-o", "quiet", ".")
	c.Dir = folder
	c.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return filepath.Join(folder, "quiet")
}
