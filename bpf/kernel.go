package bpf

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Config is what the kernel side needs to know before it is loaded.
type Config struct {
	CgroupRoot     string // where cgroup2 is mounted
	Hellos         bool   // tell TLS hellos, see [Kernel.Hellos]: without, no TCP packet is looked at but the answers of DNS servers
	EdgesPerCgroup uint32 // what one cgroup may take of the 65536 edges of a node, inbound ones half of it; more share an overflow edge. 0 is 4096
}

// Kernel is the loaded and attached kernel side. Its methods are for one goroutine, except for those that say otherwise.
type Kernel struct {
	collection *ebpf.Collection
	tick       *ebpf.Variable
	links      []link.Link
	newEdges   *ring
	answers    *ring
	hellos     *ring
	edges      *ebpf.Memory
	origins    *ebpf.Memory
	missing    []HookStatus
	waiting    []hook // for programs of others
	tls        *TLS   // nil until it is loaded
	censuses   int
	cfg        Config

	close sync.Once
}

// Load loads and attaches everything that this kernel takes, and inventories the sockets that are open already. What it refuses is in
// [Kernel.Missing]; it is an error only if the hook is needed. The caller closes the Kernel, which detaches everything.
func Load(cfg Config) (*Kernel, error) {
	spec, err := newSpec(cfg)
	if err != nil {
		return nil, err
	}
	k, err := load(spec, cfg)
	if err != nil || !cfg.Hellos {
		return k, err
	}
	i := slices.IndexFunc(k.missing, func(m HookStatus) bool { return strings.HasPrefix(m.Name, "cgroup_skb/") })
	if i < 0 {
		return k, nil
	}
	// The packets may be refused for the hellos alone.
	refused := k.missing[i]
	if err := k.Close(); err != nil {
		return nil, err
	}
	cfg.Hellos = false
	if k, err = Load(cfg); err == nil && !slices.ContainsFunc(k.missing, func(m HookStatus) bool { return m.Name == refused.Name }) {
		k.missing = append(k.missing, HookStatus{Name: refused.Name + " of TLS", Purpose: "TLS hellos, and with them the TLS of all programs that cannot be probed", Err: refused.Err})
	}
	return k, err
}

func load(spec *ebpf.CollectionSpec, cfg Config) (*Kernel, error) {
	if err := rlimit.RemoveMemlock(); err != nil { // kernels before 5.11 count maps against it
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	k := &Kernel{cfg: cfg}
	var err error
	k.collection, err = ebpf.NewCollection(spec)
	if err != nil {
		if k.missing, err = dropRefused(spec, err); err != nil {
			return nil, err
		}
		if k.collection, err = ebpf.NewCollection(spec); err != nil {
			return nil, fmt.Errorf("load programs: %w", err)
		}
	}
	if err := k.start(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

func newSpec(cfg Config) (*ebpf.CollectionSpec, error) {
	spec, err := loadAmbit()
	if err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	if cfg.EdgesPerCgroup > 0 {
		if err := spec.Variables["edges_per_cgroup"].Set(cfg.EdgesPerCgroup); err != nil {
			return nil, fmt.Errorf("set edges_per_cgroup: %w", err)
		}
	}
	if cfg.Hellos {
		if err := spec.Variables["hellos_wanted"].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("set hellos_wanted: %w", err)
		}
	}
	if err := spec.Variables["ephemeral_port"].Set(ephemeralPort()); err != nil {
		return nil, fmt.Errorf("set ephemeral_port: %w", err)
	}
	return spec, nil
}

// ephemeralPort is the first port that the kernel chooses by itself for those who do not care.
func ephemeralPort() uint16 {
	var low, high uint16
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 32768
	}
	if _, err := fmt.Sscan(string(b), &low, &high); err != nil || low == 0 {
		return 32768
	}
	return low
}

func (k *Kernel) start() error {
	if err := k.open(); err != nil {
		return err
	}
	if err := k.giveNumbers(); err != nil {
		return err
	}
	if err := k.attach(hooks); err != nil {
		return err
	}
	if err := k.nameRunning(); err != nil {
		return err
	}
	_, err := k.Census()
	return err
}

// attach attaches those of the hooks that are wanted by now, and keeps the others waiting.
func (k *Kernel) attach(hooks []hook) error {
	k.waiting = nil
	for _, h := range hooks {
		p := k.collection.Programs[h.program]
		if p == nil || h.attach == nil {
			continue
		}
		if h.beside != 0 && !others(h.beside, k.cfg) {
			k.waiting = append(k.waiting, h)
			continue
		}
		l, err := h.attach(p, k.cfg)
		if err != nil && !h.needed {
			k.missing = append(k.missing, HookStatus{h.name, h.purpose, h.needed, err})
			continue
		}
		if err != nil {
			return fmt.Errorf("attach %s: %w", h.name, err)
		}
		k.links = append(k.links, l)
	}
	return nil
}

func (k *Kernel) open() (err error) {
	if k.newEdges, err = newRing(k.collection.Maps["new_edges"]); err != nil {
		return fmt.Errorf("open ring of new edges: %w", err)
	}
	if k.answers, err = newRing(k.collection.Maps["answers"]); err != nil {
		return fmt.Errorf("open ring of answers: %w", err)
	}
	if k.hellos, err = newRing(k.collection.Maps["hellos"]); err != nil {
		return fmt.Errorf("open ring of hellos: %w", err)
	}
	k.tick = k.collection.Variables["tick"]
	if k.edges, err = k.collection.Maps["edges"].Memory(); err != nil {
		return fmt.Errorf("map edges: %w", err)
	}
	if k.origins, err = k.collection.Maps["origins"].Memory(); err != nil {
		return fmt.Errorf("map origins: %w", err)
	}
	return nil
}

// Missing are the hooks that this kernel refused, with the reasons.
func (k *Kernel) Missing() []HookStatus { return k.missing }

// Close detaches and unloads everything. It is safe to call twice, and after a failed start.
func (k *Kernel) Close() error {
	var errs []error
	k.close.Do(func() {
		if k.tls != nil {
			errs = append(errs, k.tls.close())
		}
		for _, l := range k.links {
			errs = append(errs, l.Close())
		}
		for _, r := range []*ring{k.newEdges, k.answers, k.hellos} {
			if r != nil {
				errs = append(errs, r.Close())
			}
		}
		if k.collection != nil {
			k.collection.Close()
		}
	})
	return errors.Join(errs...)
}

// readIter runs an iterator program once and gives what it wrote. A program that was refused gives nothing.
func (k *Kernel) readIter(program string) ([]byte, error) {
	p := k.collection.Programs[program]
	if p == nil {
		return nil, nil
	}
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", program, err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", program, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", program, err)
	}
	return b, nil
}

// Census counts the open TCP sockets of each edge, by the files of all processes. It corrects what is left open in the counters where the kernel
// skipped a program. Sockets that are older than the agent join their edge here, and hooks that are attached only beside those of other programs are
// attached where there are such by now. It takes about a microsecond for each open file of the node.
func (k *Kernel) Census() (map[Number]uint64, error) {
	if err := k.attach(k.waiting); err != nil {
		return nil, err
	}
	b, err := k.readIter("open_sockets")
	if err != nil {
		return nil, err
	}
	if k.censuses++; k.censuses == 2 && b != nil { // the first one misses sockets that were about to be accepted, or closed and lingering
		if err := k.collection.Variables["inventoried"].Set(uint32(1)); err != nil {
			return nil, fmt.Errorf("set inventoried: %w", err)
		}
	}
	return countSockets(b), nil
}

func countSockets(b []byte) map[Number]uint64 {
	open, seen := map[Number]uint64{}, map[uint64]bool{}
	for s := range records[ambitOpenSocket](b) {
		if !seen[s.Socket] { // processes may share it
			seen[s.Socket] = true
			open[Number(s.Number)]++
		}
	}
	return open
}

// records gives what an iterator program wrote. A rest that is shorter than a record is left out.
func records[T any](b []byte) iter.Seq[T] {
	return func(yield func(T) bool) {
		var r T
		for size := int(unsafe.Sizeof(r)); len(b) >= size; b = b[size:] {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), size), b)
			if !yield(r) {
				return
			}
		}
	}
}

func text(b []int8) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}
