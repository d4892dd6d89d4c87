package workload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Mount is where a cgroup2 hierarchy can be seen.
type Mount struct {
	Path string // mount point
	Root string // which cgroup the mount shows; "/" unless only a part is visible
}

// ErrNoMount is the error of [FindMount] if no cgroup2 hierarchy is mounted.
var ErrNoMount = errors.New("no cgroup2 file system is mounted")

// FindMount finds the cgroup2 hierarchy of this machine: /sys/fs/cgroup, /sys/fs/cgroup/unified on hybrid systems, or elsewhere.
func FindMount() (Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, fmt.Errorf("find cgroup2 mount: %w", err)
	}
	defer f.Close()
	m, err := findMount(f)
	if err != nil {
		return Mount{}, fmt.Errorf("find cgroup2 mount: %w", err)
	}
	return m, nil
}

// findMount prefers a mount that shows the whole hierarchy, then the first.
func findMount(mountinfo io.Reader) (Mount, error) {
	var found Mount
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20) // an overlay's options can be long
	for lines.Scan() {
		// 41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
		mount, filesystem, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if !ok || len(fields) < 5 || !strings.HasPrefix(filesystem, "cgroup2 ") {
			continue
		}
		m := Mount{Root: unescape(fields[3]), Path: unescape(fields[4])}
		if m.Root == "/" {
			return m, nil
		}
		if found.Path == "" {
			found = m
		}
	}
	if err := lines.Err(); err != nil {
		return Mount{}, err
	}
	if found.Path == "" {
		return Mount{}, ErrNoMount
	}
	return found, nil
}

// unescape undoes the octal escapes of spaces and the like in the mount table.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+4 > len(s) {
			break
		}
		b.WriteString(s[:i])
		if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			b.WriteByte(byte(c))
			s = s[i+4:]
		} else {
			b.WriteByte('\\')
			s = s[i+1:]
		}
	}
	b.WriteString(s)
	return b.String()
}
