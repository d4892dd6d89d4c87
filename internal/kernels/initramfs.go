package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A binary is one package's tests.
type binary struct {
	pkg      string // import path below the module: "agent/workload"
	file     string
	testdata string   // folder, "" if there is none
	tests    []string // that match
}

// buildTests builds the tests of those packages that have any whose name matches run.
func buildTests(ctx context.Context, into, run string, patterns []string) ([]binary, error) {
	if err := os.RemoveAll(into); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return nil, err
	}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{.ImportPath}} {{.Module.Path}} {{.Dir}}"}, patterns...)...)
	listed, err := output(list)
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", append([]string{"test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", into + "/"}, patterns...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if _, err := output(build); err != nil {
		return nil, err
	}
	var tests []binary
	for line := range strings.Lines(string(listed)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("understand go list: %q", line)
		}
		b := binary{pkg: strings.TrimPrefix(f[0], f[1]+"/"), file: filepath.Join(into, path.Base(f[0])+".test")}
		if _, err := os.Stat(b.file); errors.Is(err, os.ErrNotExist) { // it has no tests
			continue
		}
		names, err := output(exec.CommandContext(ctx, b.file, "-test.list", run))
		if err != nil {
			return nil, err
		}
		if b.tests = strings.Fields(string(names)); len(b.tests) == 0 {
			continue
		}
		if data := filepath.Join(f[2], "testdata"); isFolder(data) {
			b.testdata = data
		}
		tests = append(tests, b)
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no test of %s matches %s", strings.Join(patterns, " "), run)
	}
	return tests, nil
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func countTests(tests []binary) (n int) {
	for _, b := range tests {
		n += len(b.tests)
	}
	return n
}

//go:embed init.sh
var initScript []byte

// makeInitramfs makes the one file that a guest consists of: busybox, openssl, the tests, what they read, and the libraries that they are linked with.
func makeInitramfs(ctx context.Context, file string, tools toolbox, tests []binary, run string, limit time.Duration) error {
	root := file + ".d"
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	defer os.RemoveAll(root)
	put := func(name string, data []byte) error {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, data, 0o755)
	}
	busybox, err := os.ReadFile(tools.busybox())
	if err != nil {
		return err
	}
	// Tests tell programs apart by their files: cat and sleep must be two.
	for _, name := range []string{"bin/busybox", "bin/cat", "bin/sleep"} {
		if err := put(name, busybox); err != nil {
			return err
		}
	}
	if err := tools.addProgram(put, "bin/openssl", filepath.Join(tools.root, "usr/bin/openssl")); err != nil {
		return err
	}
	var plan bytes.Buffer
	for i, b := range tests {
		folder := fmt.Sprintf("t/%d", i)
		fmt.Fprintf(&plan, "%s /%s\n", b.pkg, folder)
		if err := tools.addProgram(put, folder+"/test", b.file); err != nil {
			return err
		}
		if b.testdata != "" {
			if err := os.CopyFS(filepath.Join(root, folder, "testdata"), os.DirFS(b.testdata)); err != nil {
				return err
			}
		}
	}
	for name, data := range map[string][]byte{"init": initScript, "t/plan": plan.Bytes(), "t/run": []byte(run), "t/timeout": fmt.Appendf(nil, "%.0fs", (limit * 9 / 10).Seconds())} {
		if err := put(name, data); err != nil {
			return err
		}
	}
	return pack(ctx, tools, root, file)
}

// pack makes a compressed cpio archive of a folder.
func pack(ctx context.Context, tools toolbox, root, file string) (err error) {
	var names bytes.Buffer
	err = filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		fmt.Fprintln(&names, rel)
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cpio := exec.CommandContext(ctx, tools.busybox(), "cpio", "-o", "-H", "newc", "-R", "0:0")
	cpio.Dir, cpio.Stdin, cpio.Stdout, cpio.Stderr = root, &names, z, &said
	if err := cpio.Run(); err != nil {
		return fmt.Errorf("pack the initramfs: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return z.Close()
}

func (t toolbox) busybox() string { return filepath.Join(t.root, "usr/bin/busybox") }

// addProgram adds a program and the libraries that it names, if it is not linked statically.
func (t toolbox) addProgram(put func(string, []byte) error, name, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := put(name, data); err != nil {
		return err
	}
	e, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		linker, err := io.ReadAll(p.Open())
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		data, err := os.ReadFile(t.linker())
		if err != nil {
			return err
		}
		if err := put(strings.TrimRight(string(linker), "\x00"), data); err != nil {
			return err
		}
	}
	needs, err := e.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	for _, library := range needs {
		if !regexp.MustCompile(`^[\w.+-]+$`).MatchString(library) {
			return fmt.Errorf("read %s: library %q", file, library)
		}
		if library == "ld-linux-x86-64.so.2" {
			continue
		}
		if err := t.addProgram(put, "lib/x86_64-linux-gnu/"+library, filepath.Join(t.root, libraries, library)); err != nil {
			return err
		}
	}
	return nil
}
