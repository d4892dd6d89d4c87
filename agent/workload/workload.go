// Package workload says who a process is: from cgroup and process to a workload with its identity.
//
// Sources are asked in order of the strength of their evidence: those given in [Config] first, then systemd units, cgroups, and last the user
// and executable. One of them always answers.
package workload

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// Config of a [Resolver]. TrustDomain and Node are needed, zero values of the others mean the defaults.
type Config struct {
	TrustDomain event.TrustDomain
	Node        string
	CgroupRoot  string   // mount point of the cgroup2 hierarchy; default: as found in the mount table
	Proc        string   // mount point of proc; default /proc
	Names       Names    // names of cgroups that may be gone; default: none
	Sources     []Source // asked before the ones built in

	MaxCgroups   int // cgroups whose paths are kept; default 16384
	MaxWorkloads int // answers that are kept; default 8192
	MaxRunning   int // workloads that Running gives; default 16384
}

// Resolver names workloads. It is safe for concurrent use and starts no goroutines.
type Resolver struct {
	proc       string
	maxRunning int
	sources    []Source

	mu        sync.Mutex // guards all below
	paths     paths
	workloads *lru.Cache[question, answer]
	overflow  uint64
}

type question struct {
	cgroup      uint64
	uid         uint32
	interactive bool
	known       bool
	executable  string
}

type answer struct {
	workload   *event.Workload // shared with who asked
	path       string          // that it was given for
	generation uint64          // of the sources
}

// New makes a resolver. It reads the mount table if CgroupRoot is empty, and nothing else.
func New(cfg Config) (*Resolver, error) {
	if cfg.TrustDomain.IsZero() || cfg.Node == "" {
		return nil, errors.New("make workload resolver: trust domain or node name is missing")
	}
	mount := Mount{Path: filepath.Clean(cfg.CgroupRoot), Root: "/"}
	if cfg.CgroupRoot == "" {
		var err error
		if mount, err = FindMount(); err != nil {
			return nil, err
		}
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	groups, people := cgroup{domain: cfg.TrustDomain, node: cfg.Node}, process{domain: cfg.TrustDomain, node: cfg.Node}
	return &Resolver{
		proc:       cfg.Proc,
		maxRunning: orDefault(cfg.MaxRunning, 16384),
		sources: slices.Concat(cfg.Sources, []Source{
			&podless{groups}, &systemd{domain: cfg.TrustDomain, node: cfg.Node, people: people}, &groups, &people,
		}),
		paths:     paths{names: cfg.Names, mount: mount, known: lru.New[uint64, knownPath](orDefault(cfg.MaxCgroups, 16384))},
		workloads: lru.New[question, answer](orDefault(cfg.MaxWorkloads, 8192)),
	}, nil
}

func orDefault(n, standard int) int {
	if n <= 0 {
		return standard
	}
	return n
}

// Scan learns the cgroups that exist now. If it is called once after the kernel side began to watch for new cgroups, none is missed.
func (r *Resolver) Scan() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paths.scan()
}

// Learn takes cgroups that somebody has found, by their folders.
func (r *Resolver) Learn(folders map[uint64]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, dir := range folders {
		if k := r.paths.known.Get(id); k == nil || k.path == "" {
			r.paths.put(id, r.paths.mount.cgroupPath(dir))
		}
	}
}

// Resolve names a workload. It always answers: a cgroup that nobody knows gets the identity of a cgroup "unknown/<id>" and is counted.
// Repeated questions do not allocate. Who asks the same gets the same Workload, and must not change it.
func (r *Resolver) Resolve(cgroupID uint64, p Process) *event.Workload {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := r.paths.path(cgroupID)
	generation := r.Generation() // before the sources are asked: what changes meanwhile is asked for again
	q := question{cgroupID, p.UID, p.Interactive, p.known(), p.Executable}
	a := r.workloads.Get(q)
	if a != nil && a.path == path && a.generation == generation {
		return a.workload
	}
	w := r.name(Cgroup{ID: cgroupID, Path: path}, p)
	if a != nil && (*a.workload == w || a.workload.Unattributed == "" && w.Unattributed != "") {
		a.generation = generation // a cgroup is never another's: who knew it and has forgotten it was right
		return a.workload
	}
	r.workloads.Put(q, answer{&w, path, generation})
	return &w
}

// Generation grows when Resolve may give better answers than before.
func (r *Resolver) Generation() uint64 {
	sum := uint64(0)
	for _, s := range r.sources {
		sum += s.Generation()
	}
	return sum
}

func (r *Resolver) name(c Cgroup, p Process) event.Workload {
	for _, s := range r.sources {
		if w, ok := s.Workload(c, p); ok { // identities are made of the names as they are, so that two of them stay two
			w.Unit, w.Executable, w.Cgroup = readable(w.Unit), readable(w.Executable), readable(c.Path)
			return w
		}
	}
	panic("unreachable: the last source knows every process")
}

// maxText bounds names in what travels; paths can be four times as long.
const maxText = 1024

// readable makes text that may travel of a name that a process was free to choose: neither a terminal nor a log should be steered by it.
func readable(name string) string {
	if len(name) > maxText {
		name = "…" + name[len(name)-maxText+len("…"):]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(name, string(unicode.ReplacementChar)))
}

// Counters says how much was not known since the start, by cause.
func (r *Resolver) Counters() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string]uint64{
		"cgroup-name-unknown": r.paths.unknown,
		"sighting-overflow":   r.overflow,
	}
}
