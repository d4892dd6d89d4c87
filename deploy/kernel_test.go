package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// bpfMount mounts a BPF file system of the test's own, which goes with it.
func bpfMount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, unix.Mount("bpf", dir, "bpf", 0, "mode=0700"))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// kernelObjects are maps, links and programs, by the numbers that the kernel gives each once.
type kernelObjects struct{ maps, links, programs []uint32 }

// held are those that a process holds.
func (k *kernelObjects) held(t *testing.T, pid int) {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil || len(infos) == 0 {
		t.Fatalf("files of process %d: %v", pid, err)
	}
	for _, file := range infos {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed by now
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			switch {
			case err != nil:
			case name == "map_id":
				k.maps = append(k.maps, uint32(n))
			case name == "link_id":
				k.links = append(k.links, uint32(n))
			case name == "prog_id":
				k.programs = append(k.programs, uint32(n))
			}
		}
	}
}

// pinned are those that are pinned below a folder.
func (k *kernelObjects) pinned(t *testing.T, dir string) (pins int) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		pins++
		if m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true}); err == nil {
			defer m.Close()
			info, err := m.Info()
			check(t, err)
			id, _ := info.ID()
			k.maps = append(k.maps, uint32(id))
			return nil
		}
		if l, err := link.LoadPinnedLink(path, nil); err == nil {
			defer l.Close()
			info, err := l.Info()
			check(t, err)
			k.links, k.programs = append(k.links, uint32(info.ID)), append(k.programs, uint32(info.Program))
			return nil
		}
		p, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			return fmt.Errorf("%s is neither map, link nor program: %w", path, err)
		}
		defer p.Close()
		info, err := p.Info()
		check(t, err)
		id, _ := info.ID()
		k.programs = append(k.programs, uint32(id))
		return nil
	}))
	return pins
}

// left are those that the kernel still has.
func (k *kernelObjects) left() (left []string) {
	look := func(kind string, ids []uint32, open func(uint32) error) {
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			if err := open(id); !errors.Is(err, os.ErrNotExist) {
				left = append(left, fmt.Sprintf("%s %d (%v)", kind, id, err))
			}
		}
	}
	look("map", k.maps, func(id uint32) error {
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err == nil {
			m.Close()
		}
		return err
	})
	look("link", k.links, func(id uint32) error {
		l, err := link.NewFromID(link.ID(id))
		if err == nil {
			l.Close()
		}
		return err
	})
	look("program", k.programs, func(id uint32) error {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err == nil {
			p.Close()
		}
		return err
	})
	return left
}

// gone waits until the kernel has let go of all of them; the folder where they were pinned is gone, too.
func (k *kernelObjects) gone(t *testing.T, dir string) {
	t.Helper()
	if len(k.maps) == 0 || len(k.links) == 0 || len(k.programs) == 0 {
		t.Errorf("too little was there to be gone: %+v", k)
	}
	await(t, "the kernel to let go of everything", 30*time.Second, func() string { return strings.Join(k.left(), ", ") })
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left in the BPF file system: %q %v", filesBelow(t, dir), err)
	}
}

// filesBelow are the files below a folder.
func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	}))
	return files
}
