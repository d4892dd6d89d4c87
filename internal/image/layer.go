package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archive is a layer in the making. All files are root's, and of one time.
type archive struct {
	c    *config
	text bytes.Buffer
	tar  *tar.Writer
	err  error
}

func (c *config) archive() *archive {
	a := &archive{c: c}
	a.tar = tar.NewWriter(&a.text)
	return a
}

func (a *archive) add(h tar.Header, content []byte) {
	if a.err != nil {
		return
	}
	h.ModTime, h.Format, h.Size = a.c.at, tar.FormatPAX, int64(len(content))
	if a.err = a.tar.WriteHeader(&h); a.err == nil {
		_, a.err = a.tar.Write(content)
	}
}

func (a *archive) folder(name string, mode int64) {
	a.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (a *archive) file(name string, mode int64, content []byte) {
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

func (a *archive) layer(options ...tarball.LayerOption) (v1.Layer, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	if a.err != nil {
		return nil, a.err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a.text.Bytes())), nil }, options...)
}

// skeleton is what a program expects around it. Roots of public certificate authorities are in the program.
func (c *config) skeleton() (v1.Layer, error) {
	a := c.archive()
	for _, name := range []string{"etc", "proc", "sys", "dev", "run", "var", "var/lib"} {
		a.folder(name, 0o755)
	}
	a.add(tar.Header{Typeflag: tar.TypeDir, Name: "var/lib/ambit/", Mode: 0o700, Uid: nonroot, Gid: nonroot}, nil)
	a.folder("tmp", 0o1777)
	a.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/ambit\nambit:x:65532:65532:Ambit:/var/lib/ambit:/ambit\n"))
	a.file("etc/group", 0o644, []byte("root:x:0:\nambit:x:65532:\n"))
	a.file("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	return a.layer()
}

const nonroot = 65532

// program is the binary alone.
func (c *config) program(binary string) (v1.Layer, error) {
	a := c.archive()
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	a.file("ambit", 0o755, content)
	return a.layer(tarball.WithCompressedCaching) // it is read several times, and packing takes longer than the rest
}

// library is what the program needs with the embedded engine: its library, and the C library of this machine.
func (c *config) library(binary string) (v1.Layer, error) {
	a := c.archive()
	content, err := os.ReadFile(c.engine)
	if err != nil {
		return nil, err
	}
	a.file("libchdb.so", 0o755, content)
	libraries, err := needed(binary, c.engine)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"lib", "lib/x86_64-linux-gnu", "lib64"} {
		a.folder(name, 0o755)
	}
	for _, from := range libraries {
		if content, err = os.ReadFile(from); err != nil {
			return nil, err
		}
		a.file(filepath.Join("lib/x86_64-linux-gnu", filepath.Base(from)), 0o755, content)
	}
	a.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "lib64/ld-linux-x86-64.so.2", Linkname: "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", Mode: 0o777}, nil)
	return a.layer(tarball.WithCompressionLevel(gzip.BestSpeed)) // half a gigabyte, of which more effort takes little
}

// needed are the shared libraries that programs name, and those that these name, as Debian has them.
func needed(programs ...string) ([]string, error) {
	const folder = "/lib/x86_64-linux-gnu"
	seen, out := map[string]bool{}, []string{}
	var visit func(path string) error
	visit = func(path string) error {
		f, err := elf.Open(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		defer f.Close()
		names, err := f.ImportedLibraries()
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, name := range append(names, "ld-linux-x86-64.so.2") {
			if seen[name] {
				continue
			}
			seen[name] = true
			out = append(out, filepath.Join(folder, name))
			if err := visit(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range programs {
		if err := visit(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}
