package tlsprobe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity is a file as far as probes go: while it stays the same, so do its content and the kernel's inode. The device is left out where a file
// system shows the same inode under many: overlays of one image, in each of its containers.
type identity struct {
	major, minor uint32
	number, size uint64
	changed      unix.StatxTimestamp
}

// opened is a file that a process has mapped, open for reading.
type opened struct {
	*os.File
	identity     identity
	size         int64
	major, minor uint32 // as stat tells them
}

// path names the open file for the kernel.
func (o *opened) path(proc string) string {
	return fmt.Sprintf("%s/self/fd/%d", proc, o.Fd())
}

var (
	errGone    = errors.New("the process has it mapped no more")
	errChanged = errors.New("it is another file than the process has mapped")
)

// foreignError says that a file is on a file system where somebody else may let a reader wait for ever.
type foreignError struct {
	filesystem string
}

func (e *foreignError) Error() string { return "reading files on " + e.filesystem + " may block" }

// local are the file systems without a device of their own that nobody outside the kernel serves.
var local = map[string]bool{
	"overlay": true, "btrfs": true, "tmpfs": true, "ramfs": true, "rootfs": true, "zfs": true, "bcachefs": true, "aufs": true, "shiftfs": true,
	"erofs": true, "virtiofs": true,
}

// openMapped opens the file behind a mapping: by the mapping itself, else by its name in the mounts of the process. Whatever the process does meanwhile
// with names, links and mounts, what is opened is a regular file with the number that the kernel told, and nothing waits for anybody. The errors are
// errGone, errChanged, a *foreignError, or the kernel's.
func openMapped(proc string, m *mapping) (*opened, error) {
	process := proc + "/" + strconv.FormatUint(uint64(m.pid), 10)
	fd, err := openMapping(process, m)
	if errors.Is(err, unix.ENOENT) {
		if now, ok := mappedNow(process, m); ok {
			fd, err = openMapping(process, &now)
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) { // it takes more rights than the name
		fd, err = openInRoot(process, m.path)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ELOOP) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", printable(m.path), err)
	}
	defer unix.Close(fd)
	return reopen(proc, process, fd, m)
}

func openMapping(process string, m *mapping) (int, error) {
	return unix.Open(fmt.Sprintf("%s/map_files/%x-%x", process, m.start, m.end), unix.O_PATH|unix.O_CLOEXEC, 0)
}

// mappedNow finds the mapping as it became. Loaders map a file's first part, which may be code, with room for all others, and these over it: the kernel
// has told of it before it was cut.
func mappedNow(process string, m *mapping) (now mapping, ok bool) {
	for _, now = range readMaps(process+"/maps", m.pid) {
		if now.inode.number == m.inode.number {
			return now, true
		}
	}
	return mapping{}, false
}

// openOnHost opens a file that nobody has any more by its name in the mounts of the first process, if it has the number that was told.
func openOnHost(proc string, m *mapping) (*opened, error) {
	const first = "/1"
	fd, err := openInRoot(proc+first, m.path)
	if err != nil {
		return nil, errGone
	}
	defer unix.Close(fd)
	o, err := reopen(proc, proc+first, fd, m)
	if err != nil {
		return nil, errGone // nobody says that this is the file
	}
	return o, nil
}

const resolveCached = 0x20 // RESOLVE_CACHED of openat2

// openInRoot finds a name as the process sees it. Only what the kernel has at hand is asked, no server of a file system.
func openInRoot(process, path string) (int, error) {
	root, err := unix.Open(process+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolveCached}
	fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &how)
	if errors.Is(err, unix.EINVAL) { // before 5.12
		how.Resolve &^= resolveCached
		fd, err = unix.Openat2(root, strings.TrimPrefix(path, "/"), &how)
	}
	return fd, err
}

// reopen opens for reading what a path descriptor is of, once it is known to be harmless.
func reopen(proc, process string, path int, m *mapping) (*opened, error) {
	var st unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_SIZE | unix.STATX_CTIME | unix.STATX_MNT_ID
	if err := unix.Statx(path, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, mask, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", printable(m.path), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != m.inode.number {
		return nil, errChanged
	}
	filesystem := ""
	if st.Dev_major == 0 {
		var err error
		if filesystem, err = mounted(proc, process, st.Mnt_id, st.Dev_major, st.Dev_minor); err != nil {
			return nil, err
		}
		if !local[filesystem] {
			return nil, &foreignError{filesystem}
		}
	}
	o := &opened{major: st.Dev_major, minor: st.Dev_minor, size: int64(st.Size), identity: identity{number: st.Ino, size: st.Size, changed: st.Ctime}}
	if filesystem != "overlay" { // there the kernel may tell the device of the layer
		o.identity.major, o.identity.minor = st.Dev_major, st.Dev_minor
		if filesystem != "btrfs" && (st.Dev_major != m.inode.major || st.Dev_minor != m.inode.minor) {
			return nil, errChanged
		}
	}
	fd, err := unix.Open(fmt.Sprintf("%s/self/fd/%d", proc, path), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", printable(m.path), err)
	}
	o.File = os.NewFile(uintptr(fd), "mapped file")
	return o, nil
}

const maxMounts = 8 << 20 // bytes

// mounted says what kind of file system a mount of a process is. Its list leaves out what is not below its root, so that the device is looked for in
// this process's list, too.
func mounted(proc, process string, id uint64, major, minor uint32) (string, error) {
	kind, err := mountKind(process, func(fields []string) bool { return fields[0] == strconv.FormatUint(id, 10) })
	if kind == "" && err == nil {
		kind, err = mountKind(proc+"/self", func(fields []string) bool { return fields[2] == fmt.Sprintf("%d:%d", major, minor) })
	}
	if kind == "" && err == nil {
		kind = "a mount that is not listed"
	}
	return kind, err
}

func mountKind(process string, is func(fields []string) bool) (string, error) {
	list, err := os.Open(process + "/mountinfo")
	if err != nil {
		return "", errGone
	}
	defer list.Close()
	lines := bufio.NewScanner(io.LimitReader(list, maxMounts))
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		mount, rest, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.SplitN(mount, " ", 4)
		if kind, _, _ := strings.Cut(rest, " "); ok && len(fields) == 4 && len(kind) < 64 && is(fields) {
			return kind, nil
		}
	}
	return "", nil
}

// printable is a name for messages: it may come from anybody.
func printable(path string) string {
	const most = 256
	if len(path) > most {
		path = path[:most] + "…"
	}
	quoted := strconv.QuoteToASCII(path)
	if quoted == `"`+path+`"` {
		return path
	}
	return quoted
}
