package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ambit-nhi/ambit/event"
)

// sampled is how many processes of a unit or container are looked at, to tell whether all run the same executable.
const sampled = 16

// Running gives the workloads that run now, each once, in the order of the hierarchy. Where a whole cgroup is one identity, it is one workload,
// with executable and user if its processes agree on them. Kernel threads are left out.
func (r *Resolver) Running(ctx context.Context) ([]event.Workload, error) {
	s := survey{r: r, seen: map[event.Workload]bool{}}
	err := filepath.WalkDir(r.paths.mount.Path, func(dir string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if gone(err) || err == nil && !d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		// The root has no such file.
		if events, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err == nil && bytes.Contains(events, []byte("populated 0")) {
			return fs.SkipDir
		}
		return s.cgroup(dir)
	})
	if err != nil {
		return nil, fmt.Errorf("list running workloads: %w", err)
	}
	if s.overflow > 0 {
		r.mu.Lock()
		r.overflow += s.overflow
		r.mu.Unlock()
	}
	return s.found, nil
}

type survey struct {
	r        *Resolver
	found    []event.Workload
	seen     map[event.Workload]bool
	overflow uint64
}

func (s *survey) cgroup(dir string) error {
	var st syscall.Stat_t
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err == nil {
		err = syscall.Stat(dir, &st)
	}
	if gone(err) || errors.Is(err, syscall.EOPNOTSUPP) { // a threaded cgroup's processes are listed above it
		return nil
	}
	if err != nil {
		return err
	}
	var same Process
	looked := 0
	for line := range strings.Lines(string(procs)) {
		p, ok := s.r.process(strings.TrimSpace(line))
		if !ok {
			continue
		}
		w := s.r.Resolve(st.Ino, p)
		if w.Evidence == event.EvidenceProcess { // here every process may be someone else
			s.add(w)
			continue
		}
		if looked++; looked == 1 {
			same = p
			continue
		}
		same.Interactive = same.Interactive && p.Interactive
		if same.Executable != p.Executable {
			same.Executable = ""
		}
		if same.UID != p.UID {
			same.UID = 0
		}
		if looked == sampled {
			break
		}
	}
	if looked > 0 {
		s.add(s.r.Resolve(st.Ino, same))
	}
	return nil
}

func (s *survey) add(w *event.Workload) {
	if s.seen[*w] {
		return
	}
	if len(s.found) >= s.r.maxRunning {
		s.overflow++
		return
	}
	s.seen[*w] = true
	s.found = append(s.found, *w)
}

// process reads what proc tells of a process. Kernel threads and zombies have no executable, and are no processes here.
func (r *Resolver) process(pid string) (Process, bool) {
	tgid, err := strconv.ParseUint(pid, 10, 32)
	if err != nil || tgid == 0 { // 0: a process of another PID namespace
		return Process{}, false
	}
	dir := filepath.Join(r.proc, pid)
	executable, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return Process{}, false
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return Process{}, false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, false
	}
	return Process{
		TGID:        uint32(tgid),
		UID:         realUser(status),
		Executable:  strings.TrimSuffix(executable, " (deleted)"),
		Interactive: hasTerminal(stat),
	}, true
}

// realUser reads "Uid:" of proc's status: real, effective, saved, file system.
func realUser(status []byte) uint32 {
	_, rest, _ := bytes.Cut(status, []byte("\nUid:\t"))
	text, _, _ := bytes.Cut(rest, []byte("\t"))
	uid, _ := strconv.ParseUint(string(text), 10, 32)
	return uint32(uid)
}

// hasTerminal reads tty_nr of proc's stat: the fifth field after the name, which may hold anything.
func hasTerminal(stat []byte) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 4 && !bytes.Equal(fields[4], []byte("0"))
}
