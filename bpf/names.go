package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
)

// CgroupPath is the path below the cgroup root that a cgroup was made with after [Load], such as "/system.slice/a.service"; ok is false for older ones
// and for those that 8192 others followed. It is safe for concurrent use.
func (k *Kernel) CgroupPath(id uint64) (path string, ok bool) {
	var name ambitCgroupName
	if err := k.collection.Maps["cgroups"].Lookup(&id, &name); err != nil {
		return "", false
	}
	path = text(name.Path[:])
	return path, path != ""
}

// ExecutablePath is the path that an executable file was last started with: maybe relative, maybe a symbolic link. It is safe for
// concurrent use.
func (k *Kernel) ExecutablePath(file uint64) (path string, ok bool) {
	var e ambitExecutable
	if err := k.collection.Maps["executables"].Lookup(&file, &e); err != nil {
		return "", false
	}
	path = text(e.Path[:])
	return path, path != ""
}

// nameRunning gives the kernel side the paths of the executables that run already.
func (k *Kernel) nameRunning() error {
	b, err := k.readIter("running_tasks")
	if err != nil {
		return err
	}
	for r := range records[ambitRunning](b) {
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.Tgid))
		if err != nil {
			continue // it ended, or has none that we may see
		}
		path = strings.TrimSuffix(path, " (deleted)") // as it was executed
		e := ambitExecutable{Inode: r.Inode, Device: r.Device}
		for i := range min(len(path), len(e.Path)-1) {
			e.Path[i] = int8(path[i])
		}
		err = k.collection.Maps["executables"].Update(&r.File, &e, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("name executable %q: %w", path, err)
		}
	}
	return nil
}
