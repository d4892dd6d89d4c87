package workload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// cgroup names workloads by their cgroup, where that is not the root.
type cgroup struct {
	constant
	domain event.TrustDomain
	node   string
}

func (s *cgroup) Workload(c Cgroup, p Process) (event.Workload, bool) {
	path, why := c.Path, event.Unattributed("")
	switch path {
	case "/":
		return event.Workload{}, false
	case "":
		path, why = "unknown/"+strconv.FormatUint(c.ID, 10), event.UnattributedCgroup
	}
	return event.Workload{
		Identity:     event.CgroupIdentity(s.domain, s.node, path),
		Evidence:     event.EvidenceCgroup,
		Unattributed: why,
		Executable:   p.Executable, Interactive: p.Interactive, UID: p.UID,
	}, true
}

// podless names the cgroups of pods where nobody tells of pods. It comes before systemd, whose services such cgroups can stand below.
type podless struct{ cgroup }

func (s *podless) Workload(c Cgroup, p Process) (event.Workload, bool) {
	if _, ok := parsePodPath(c.Path); !ok {
		return event.Workload{}, false
	}
	w, ok := s.cgroup.Workload(c, p)
	w.Unattributed = event.UnattributedAPI
	return w, ok
}

// askAgain is the shortest time between two scans of the hierarchy, and between two questions for the same unknown cgroup.
const askAgain = time.Second

// paths knows cgroups by id. A cgroup never changes its path, and no id is used twice, so what is known stays true.
type paths struct {
	names   Names
	mount   Mount
	known   *lru.Cache[uint64, knownPath]
	scanned time.Time

	unknown uint64 // cgroups that were asked for and had no name
}

type knownPath struct {
	path  string // empty if unknown
	asked time.Time
}

// path is empty if nobody knows the cgroup.
func (s *paths) path(id uint64) string {
	k := s.known.Get(id)
	if k != nil && (k.path != "" || time.Since(k.asked) < askAgain) {
		return k.path
	}
	path := s.ask(id)
	if path == "" && k == nil {
		s.unknown++
	}
	s.put(id, path)
	return path
}

func (s *paths) ask(id uint64) string {
	if s.names != nil {
		if path, ok := s.names.CgroupPath(id); ok && path != "" {
			return path
		}
	}
	if time.Since(s.scanned) < askAgain {
		return ""
	}
	// An error means that part of the hierarchy could not be read; what could be is known now.
	_ = s.scan()
	if k := s.known.Get(id); k != nil {
		return k.path
	}
	return ""
}

func (s *paths) put(id uint64, path string) {
	s.known.Put(id, knownPath{path, time.Now()}) // one that goes for it can be asked for again
}

// scan learns the cgroups that exist now.
func (s *paths) scan() error {
	s.scanned = time.Now()
	return filepath.WalkDir(s.mount.Path, func(dir string, d fs.DirEntry, err error) error {
		if gone(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("scan cgroups: %w", err)
		}
		if !d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if gone(err) {
			return fs.SkipDir
		}
		if err != nil {
			return fmt.Errorf("scan cgroups: %w", err)
		}
		s.put(info.Sys().(*syscall.Stat_t).Ino, s.mount.cgroupPath(dir))
		return nil
	})
}

// cgroupPath is the path of the cgroup that a directory below the mount shows.
func (m Mount) cgroupPath(dir string) string {
	root := m.Root
	if strings.HasPrefix(root, "/..") { // above this process's cgroup namespace: unknown, so paths begin at the mount
		root = ""
	}
	return filepath.Join("/", root, strings.TrimPrefix(dir, m.Path))
}

// gone says that a cgroup or process went away while it was looked at.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH)
}
