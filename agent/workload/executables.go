package workload

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ResolveExecutable finds the path of an executable that the kernel saw: by its process, if that still runs it, else by the name that it was
// started by. execName, ino and dev are the kernel's (bprm->interp, i_ino and s_dev of the file); empty or zero where not known. The path is as
// the process sees it, in its own mounts. It is empty if nothing is known.
func ResolveExecutable(tgid uint32, execName string, ino, dev uint64) string {
	return resolveExecutable("/proc", tgid, execName, ino, dev)
}

func resolveExecutable(proc string, tgid uint32, execName string, ino, dev uint64) string {
	file := fileID{ino, userDev(dev)}
	if tgid != 0 {
		link := filepath.Join(proc, strconv.FormatUint(uint64(tgid), 10), "exe")
		if path, err := os.Readlink(link); err == nil {
			path = strings.TrimSuffix(path, " (deleted)")
			if ino == 0 || file.is(link) || filepath.Base(path) == filepath.Base(execName) || renumbers(link) {
				return path
			}
		}
	}
	if name, ok := strings.CutPrefix(execName, "/dev/fd/"); ok { // fexecve: the number says nothing, a name below a folder does
		_, execName, _ = strings.Cut(name, "/")
	}
	switch {
	case execName == "":
		return ""
	case !strings.HasPrefix(execName, "/"):
		return filepath.Base(execName)
	}
	if path, err := filepath.EvalSymlinks(execName); err == nil && ino != 0 && file.is(path) {
		return path
	}
	return filepath.Clean(execName)
}

// fileID is a file as stat tells it.
type fileID struct {
	ino, dev uint64
}

func (f fileID) is(path string) bool {
	var st syscall.Stat_t
	return syscall.Stat(path, &st) == nil && fileID{st.Ino, st.Dev} == f
}

// userDev gives a device number as stat does. The kernel's own has 12 bits of major and 20 of minor number.
func userDev(kernel uint64) uint64 {
	return unix.Mkdev(uint32(kernel>>20)&0xfff, uint32(kernel)&0xfffff)
}

// renumbers says that a file is on a file system where stat tells other numbers than the kernel has inside.
func renumbers(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && (st.Type == unix.OVERLAYFS_SUPER_MAGIC || st.Type == unix.BTRFS_SUPER_MAGIC)
}
