package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// DefaultPins is where deny is pinned. The number is that of the maps' layout.
const DefaultPins = "/sys/fs/bpf/ambit/deny-1"

const bpfMount = "/sys/fs/bpf"

// CheckPins says why nothing can be pinned in a folder. It changes nothing.
func CheckPins(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil && st.Type == unix.BPF_FS_MAGIC {
			return nil
		}
		if err == nil && dir == bpfMount {
			return fmt.Errorf("no BPF file system is mounted at %s", bpfMount)
		}
		if err == nil {
			return fmt.Errorf("%s is not in a BPF file system", dir)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
	}
}

// MakePins makes the folder, and mounts the file system where it is by custom and nobody has.
func MakePins(dir string) error {
	err := CheckPins(dir)
	if rel, inside := filepath.Rel(bpfMount, dir); err != nil && inside == nil && filepath.IsLocal(rel) {
		if err = unix.Mount("bpf", bpfMount, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fmt.Errorf("mount the BPF file system at %s: %w; mount it from outside: mount -t bpf bpf %s", bpfMount, err, bpfMount)
		}
	}
	if err != nil {
		return fmt.Errorf("make a place for deny: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a place for deny: %w", err)
	}
	return nil
}

// pinnedMaps opens what an earlier process left; nothing if that does not fit this program, and is removed.
func pinnedMaps(dir string, spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	found := map[string]*ebpf.Map{}
	fits := true
	for name, s := range spec.Maps {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err == nil {
			found[name] = m
			err = s.Compatible(m)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ebpf.ErrMapIncompatible) {
			return nil, fmt.Errorf("open pinned map %s: %w", name, err)
		}
		fits = fits && err == nil
	}
	if fits {
		return found, nil
	}
	for _, m := range found {
		m.Close()
	}
	return nil, clearPins(dir)
}

func clearPins(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove what is pinned: %w", err)
	}
	for _, e := range entries { // a link that nothing holds is detached
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what is pinned: %w", err)
		}
	}
	return nil
}

// RemoveDeny detaches all that was pinned in a folder and removes it: nothing is refused any more. It says whether there was anything.
func RemoveDeny(dir string) (bool, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := CheckPins(dir); err != nil {
		return false, err
	}
	if control, err := ebpf.LoadPinnedMap(filepath.Join(dir, "deny_control"), nil); err == nil { // the kernel detaches in its own time
		err = control.Put(uint32(0), &denyDenyControl{})
		if err = errors.Join(err, control.Close()); err != nil {
			return true, fmt.Errorf("switch deny off: %w", err)
		}
	}
	if err := clearPins(dir); err != nil {
		return true, err
	}
	if err := os.Remove(dir); err != nil {
		return true, fmt.Errorf("remove the folder of what is pinned: %w", err)
	}
	_ = os.Remove(filepath.Dir(dir)) // if it was the last there
	return true, nil
}
