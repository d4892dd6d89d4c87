package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A kernel is one to test on. Its suite is fixed; which version that suite holds is found when it is fetched.
type kernel struct {
	series  string // "5.10", "7.x"
	suite   string
	version string // "5.10.223-1"
	image   string // file
}

// release is the kernel's own version, such as 5.10.223.
func (k kernel) release() string { return regexp.MustCompile(`^[0-9.]*[0-9]`).FindString(k.version) }

// A toolbox is an unpacked tree with QEMU, busybox, openssl and every library that they need, down to the dynamic linker.
type toolbox struct{ root string }

const (
	toolSuite = "trixie" // its QEMU is 10: QEMU 7.2 damages a flag register under cmpxchg16b, of which guests die
	keepFor   = 7 * 24 * time.Hour
	keyring   = "/usr/share/keyrings/debian-archive-keyring.gpg"
	libraries = "usr/lib/x86_64-linux-gnu"
)

// fetchAll brings the kernels and the tools into the cache, and fills in versions and files of kernels.
func fetchAll(ctx context.Context, o options, kernels []kernel, p *progress) (toolbox, error) {
	tools := toolbox{root: filepath.Join(o.cache, "toolbox")}
	for _, program := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			return tools, fmt.Errorf("find %s: kernels come as Debian packages, so this runs on Debian and its kin alone", program)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return tools, fmt.Errorf("find Debian's keys: install debian-archive-keyring: %w", err)
	}
	mirror, err := systemMirror(ctx)
	if err != nil {
		return tools, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	g.Go(func() error {
		a := &apt{mirror: mirror, suite: toolSuite, folder: filepath.Join(o.cache, "apt", "tools")}
		_, err := refresh(ctx, tools.root, o.fresh, p, func(into string) (string, error) { return a.fetchTools(ctx, into) })
		return err
	})
	for i := range kernels {
		k := &kernels[i]
		g.Go(func() (err error) {
			a := &apt{mirror: mirror, suite: k.suite, folder: filepath.Join(o.cache, "apt", k.suite)}
			root := filepath.Join(o.cache, "kernel-"+k.series)
			k.image = filepath.Join(root, "vmlinuz")
			k.version, err = refresh(ctx, root, o.fresh, p, func(into string) (string, error) { return a.fetchKernel(ctx, k.series, into) })
			return err
		})
	}
	return tools, g.Wait()
}

// refresh replaces a folder by what fetch makes, if it is not there or old. A fetch that fails leaves the old one in use. It gives the version.
func refresh(ctx context.Context, folder string, fresh bool, p *progress, fetch func(into string) (version string, err error)) (string, error) {
	stamp := filepath.Join(folder, "VERSION")
	had, err := os.ReadFile(stamp)
	old := err == nil
	if st, err := os.Stat(stamp); err == nil && !fresh && time.Since(st.ModTime()) < keepFor {
		return string(had), nil
	}
	into := folder + ".new"
	if err := os.RemoveAll(into); err != nil {
		return "", err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return "", err
	}
	version, err := fetch(into)
	if err != nil && old && ctx.Err() == nil {
		p.say("%v; going on with %s %s", err, filepath.Base(folder), had)
		return string(had), nil
	}
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(into, "VERSION"), []byte(version), 0o644); err != nil {
		return "", err
	}
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	p.say("fetched %s %s", filepath.Base(folder), version)
	return version, os.Rename(into, folder)
}

// systemMirror is where this system takes its Debian packages from.
func systemMirror(ctx context.Context) (string, error) {
	targets, err := output(exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"))
	if err != nil {
		return "", err
	}
	return mirrorOf(string(targets))
}

var debian = []string{"bullseye", "bookworm", "trixie", "forky", "duke", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable"}

// mirrorOf finds Debian's own archive among lines of "URI suite component".
func mirrorOf(targets string) (string, error) {
	for line := range strings.Lines(targets) {
		if f := strings.Fields(line); len(f) == 3 && slices.Contains(debian, f[1]) && f[2] == "main" {
			return f[0], nil
		}
	}
	return "", errors.New("find a Debian mirror: the system's apt sources name none with a suite such as bookworm")
}

// An apt is a package manager of its own: one suite, nothing installed, in a folder.
type apt struct{ mirror, suite, folder string }

func (a *apt) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	at := func(name string) string { return filepath.Join(a.folder, name) }
	cmd := exec.CommandContext(ctx, program, append([]string{
		"-q",
		"-o", "Dir::Etc::sourcelist=" + at("sources.list"), "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State=" + a.folder, "-o", "Dir::State::lists=" + at("lists"), "-o", "Dir::State::status=" + at("status"),
		"-o", "Dir::Cache=" + a.folder, "-o", "Dir::Cache::archives=" + at("archives"),
		"-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64",
		"-o", "APT::Sandbox::User=root", "-o", "APT::Install-Recommends=false",
		"-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "-o", "Acquire::Retries=3",
	}, args...)...)
	cmd.Dir = at("archives")
	return cmd
}

func (a *apt) update(ctx context.Context) error {
	for _, folder := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.folder, folder), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		"sources.list": fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, a.mirror, a.suite),
		"status":       "",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := output(a.command(ctx, "apt-get", "update", "--error-on=any"))
	return err
}

// Since 7.1 an image package is empty, and depends on one that holds the kernel.
var imageOf, binaryOf = regexp.MustCompile(`linux-image-[0-9][^ ,]*-cloud-amd64`), regexp.MustCompile(`linux-binary-[0-9][^ ,]*-cloud-amd64`)

func (a *apt) fetchKernel(ctx context.Context, series, into string) (version string, err error) {
	if err := a.update(ctx); err != nil {
		return "", err
	}
	newest, err := output(a.command(ctx, "apt-cache", "show", "--no-all-versions", "linux-image-cloud-amd64"))
	if err != nil {
		return "", err
	}
	name := imageOf.FindString(field(newest, "Depends"))
	if name == "" {
		return "", fmt.Errorf("find the newest kernel of %s: linux-image-cloud-amd64 depends on none", a.suite)
	}
	about, err := output(a.command(ctx, "apt-cache", "show", "--no-all-versions", name))
	if err != nil {
		return "", err
	}
	name = cmp.Or(binaryOf.FindString(field(about, "Depends")), name)
	if _, err := output(a.command(ctx, "apt-get", "download", name)); err != nil {
		return "", err
	}
	version = field(newest, "Version")
	if !inSeries(version, series) {
		return "", fmt.Errorf("the kernel of %s is %s now, not %s: name the new series in internal/kernels/main.go", a.suite, version, series)
	}
	if err := a.unpack(ctx, into); err != nil {
		return "", err
	}
	var found []string
	for _, place := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		files, _ := filepath.Glob(filepath.Join(into, place)) // the patterns are good
		found = append(found, files...)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("find the kernel in %s: it holds %d", name, len(found))
	}
	if err := os.Rename(found[0], filepath.Join(into, "vmlinuz")); err != nil {
		return "", err
	}
	for _, rest := range []string{"boot", "lib", "usr"} { // modules, of which the tests need none, are most of it
		if err := os.RemoveAll(filepath.Join(into, rest)); err != nil {
			return "", err
		}
	}
	return version, nil
}

// fetchTools brings QEMU, and what guests run, with every library that it depends on, so that the system's own versions do not matter.
func (a *apt) fetchTools(ctx context.Context, into string) (version string, err error) {
	if err := a.update(ctx); err != nil {
		return "", err
	}
	if _, err := output(a.command(ctx, "apt-get", "install", "-y", "--download-only", "qemu-system-x86", "busybox-static", "openssl")); err != nil {
		return "", err
	}
	about, err := output(a.command(ctx, "apt-cache", "show", "--no-all-versions", "qemu-system-x86"))
	if err != nil {
		return "", err
	}
	return field(about, "Version"), a.unpack(ctx, into)
}

// unpack unpacks all packages that were downloaded, and removes them.
func (a *apt) unpack(ctx context.Context, into string) error {
	packages, err := filepath.Glob(filepath.Join(a.folder, "archives/*.deb"))
	if err != nil {
		return err
	}
	for _, p := range packages {
		if _, err := output(exec.CommandContext(ctx, "dpkg", "-x", p, into)); err != nil {
			return err
		}
		if err := os.Remove(p); err != nil {
			return err
		}
	}
	return nil
}

// field reads one field of a package's description.
func field(about []byte, name string) string {
	for line := range strings.Lines(string(about)) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// output runs a command. Its error is one line that names the command and ends with the last that it said.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), lastWords(cmd.Args), err, lines[len(lines)-1])
	}
	return out.Bytes(), nil
}

// lastWords leaves out the settings, which nobody wants to read.
func lastWords(args []string) string {
	var words []string
	for i := 1; i < len(args); i++ {
		switch args[i] {
		case "-q":
		case "-o":
			i++
		default:
			words = append(words, args[i])
		}
	}
	return strings.Join(words, " ")
}
