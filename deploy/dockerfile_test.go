package deploy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// instructions are those of the Dockerfile, with continued lines joined.
func instructions(t *testing.T) [][2]string {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	check(t, err)
	var out [][2]string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			name, rest, _ := strings.Cut(line, " ")
			out = append(out, [2]string{name, rest})
		}
	}
	return out
}

// TestDockerfile does what the Dockerfile says, without its base images: the files that come out are those of `make image`, and so is how they run.
func TestDockerfile(t *testing.T) {
	l := layout{t: t, dir: filepath.Join(filepath.Dir(imageRoot(t, "1.0.0")), "image")}
	root := filepath.Join(t.TempDir(), "rootfs") // containers of other tests leave places of their mounts in the shared one
	l.rootfs("amd64", root)
	goMod, err := os.ReadFile("../go.mod")
	check(t, err)
	image, stage := filepath.Join(t.TempDir(), "image"), ""
	says := map[string]string{}
	for _, i := range instructions(t) {
		switch name, rest := i[0], i[1]; {
		case name == "FROM":
			_, stage, _ = strings.Cut(rest, " AS ")
			if _, version, ok := strings.Cut(rest, "golang:"); ok && !strings.Contains(string(goMod), "\ngo "+strings.Fields(version)[0]+"\n") {
				t.Errorf("the image is built by Go %s, go.mod wants another", version)
			}
		case name == "RUN" && stage == "build" && rest != "go mod download":
			cmd := exec.Command("sh", "-ec", strings.ReplaceAll(rest, "/image", image))
			cmd.Dir, cmd.Env = "..", append(os.Environ(), "TARGETOS=linux", "TARGETARCH=amd64", "VERSION=1.0.0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v: %s", rest, err, out)
			}
		case stage == "":
			says[name] = rest
		}
	}
	if got, want := tree(t, image), tree(t, root); !slices.Equal(got, want) {
		t.Errorf("the Dockerfile makes %v,\n`make image` %v", got, want)
	}

	var index struct{ Manifests []struct{ Digest string } }
	text, err := os.ReadFile(filepath.Join(l.dir, "index.json"))
	check(t, err)
	check(t, json.Unmarshal(text, &index))
	var manifest struct{ Config struct{ Digest string } }
	l.blob(index.Manifests[0].Digest, &manifest)
	var config struct {
		Config struct {
			Entrypoint, Cmd  []string
			User, WorkingDir string
		}
	}
	l.blob(manifest.Config.Digest, &config)
	of := func(words []string) string {
		text, err := json.Marshal(words)
		check(t, err)
		return string(text)
	}
	for name, want := range map[string]string{"ENTRYPOINT": of(config.Config.Entrypoint), "CMD": of(config.Config.Cmd), "USER": config.Config.User, "WORKDIR": config.Config.WorkingDir} {
		if says[name] != want {
			t.Errorf("%s is %s in the Dockerfile, %s by `make image`", name, says[name], want)
		}
	}
}

// tree lists files with what matters of them.
func tree(t *testing.T, root string) (out []string) {
	t.Helper()
	check(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(strings.TrimPrefix(path, root), " ", info.Mode(), " ", info.Sys().(*syscall.Stat_t).Uid)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		out = append(out, line)
		return nil
	}))
	return out
}
