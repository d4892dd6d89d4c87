package bpf

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// TLS is the part of the kernel side that watches TLS where programs handle it. Records and Losses are for one goroutine; Attach is safe for
// concurrent use, also with them.
type TLS struct {
	spec       *ebpf.CollectionSpec
	collection *ebpf.Collection
	records    *ring
	links      []link.Link
	missing    []HookStatus
	cookies    bool // this kernel tells a program what it was attached as
	multi      bool // this kernel takes many probes as one: each that is removed alone costs tens of milliseconds

	mu       sync.RWMutex // held for reading while something is being attached
	attached sync.Map     // of *attachment
	closed   bool

	numbersMu sync.Mutex
	numbers   map[uint32]int // how often each was attached
}

// LoadTLS loads the programs that watch TLS and attaches those that need no target. What the kernel refuses is in [TLS.Missing]. The caller closes
// only the Kernel, which detaches everything. LoadTLS is to be called once.
func (k *Kernel) LoadTLS() (*TLS, error) {
	spec, err := loadTls()
	if err != nil {
		return nil, fmt.Errorf("read the object of TLS: %w", err)
	}
	cookies := features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie) == nil // from 5.15
	multi := cookies && features.HaveBPFLinkUprobeMulti() == nil                     // from 6.6
	return k.loadTLS(spec, cookies, multi)
}

func (k *Kernel) loadTLS(spec *ebpf.CollectionSpec, cookies, multi bool) (*TLS, error) {
	t := &TLS{spec: spec, cookies: cookies, multi: multi, numbers: map[uint32]int{}}
	if multi {
		for _, h := range userHooks {
			if p := spec.Programs[h.program]; p != nil {
				p.AttachType = ebpf.AttachTraceUprobeMulti
			}
		}
	}
	shared, err := k.share(spec)
	if err != nil {
		return nil, err
	}
	withOthers := spec.Copy()
	for _, pair := range socketHooks {
		delete(spec.Programs, pair[1].program)
	}
	opts := ebpf.CollectionOptions{MapReplacements: shared}
	if t.collection, err = ebpf.NewCollectionWithOptions(spec, opts); err != nil {
		t.spec = withOthers
		if t.missing, err = dropRefusedTLS(t.spec, err); err != nil {
			return nil, err
		}
		if t.collection, err = ebpf.NewCollectionWithOptions(t.spec, opts); err != nil {
			return nil, fmt.Errorf("load programs of TLS: %w", err)
		}
	}
	k.tls = t
	if cookies { // else it is needed for each target
		t.spec = nil
	}
	if t.records, err = newRing(t.collection.Maps["records"]); err != nil {
		return nil, fmt.Errorf("open ring of TLS records: %w", err)
	}
	t.attachSockets(k.cfg)
	if err := t.tryUprobe(); err != nil {
		t.missing = append(t.missing, HookStatus{Name: "uprobe", Purpose: "TLS of all programs, but for what the wire shows", Err: err})
	}
	return t, nil
}

// share gives the maps of the first object that the programs read, and tells spec how they look.
func (k *Kernel) share(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	first, err := loadAmbit()
	if err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	if err := spec.Variables["anchor_offset"].Set(first.Variables["anchor"].Offset); err != nil {
		return nil, fmt.Errorf("set anchor_offset: %w", err)
	}
	data := k.collection.Maps[".bss"]
	spec.Maps["edge_data"].ValueSize, spec.Maps["edge_data"].Flags = data.ValueSize(), data.Flags()
	return map[string]*ebpf.Map{"tags": k.collection.Maps["tags"], "tags_more": k.collection.Maps["tags_more"], "edge_data": data}, nil
}

func (t *TLS) attachSockets(cfg Config) {
	for _, pair := range socketHooks {
		for _, h := range pair {
			p := t.collection.Programs[h.program]
			if p == nil {
				continue
			}
			l, err := h.attach(p, cfg)
			if err != nil {
				t.missing = append(t.missing, HookStatus{Name: h.name, Purpose: h.purpose, Err: err})
				continue
			}
			t.links = append(t.links, l)
		}
	}
}

// Missing are the hooks that this kernel refused, with the reasons.
func (t *TLS) Missing() []HookStatus { return t.missing }

// tlsCauses names enum loss of tls_event.h.
var tlsCauses = [tlsLossLOSSES]string{
	tlsLossRING_FULL:       "tls-ring-full",
	tlsLossCERTIFICATE_CUT: "tls-certificate-cut",
	tlsLossFAULT:           "tls-fault",
	tlsLossWINDOW_LOST:     "tls-window-lost",
	tlsLossCONNECTION_LOST: "tls-connection-lost",
}

// tlsRecursion counts program runs that the kernel skipped because one of ours was running on the same CPU.
const tlsRecursion = "tls-recursion"

// Dropped is how many records found no room since the start: the part of [TLS.Losses] that is cheap enough to be asked with every poll.
func (t *TLS) Dropped() (n uint64, err error) {
	var perCPU []uint64
	if err := t.collection.Maps["losses"].Lookup(uint32(tlsLossRING_FULL), &perCPU); err != nil {
		return 0, fmt.Errorf("read counter %s: %w", tlsCauses[tlsLossRING_FULL], err)
	}
	for _, c := range perCPU {
		n += c
	}
	return n, nil
}

// Losses reads how much was lost since the start, by cause. Every cause is there, also those with zero.
func (t *TLS) Losses() (map[string]uint64, error) {
	out := make(map[string]uint64, len(tlsCauses)+1)
	var perCPU []uint64
	for i, cause := range tlsCauses {
		if err := t.collection.Maps["losses"].Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", cause, err)
		}
		for _, n := range perCPU {
			out[cause] += n
		}
	}
	out[tlsRecursion] = 0
	for _, p := range t.collection.Programs {
		if s, err := p.Stats(); err == nil { // kernels before 5.12 do not tell
			out[tlsRecursion] += s.RecursionMisses
		}
	}
	return out, nil
}

// detachAll detaches from many targets at a time: the kernel then waits for all of them together.
func (t *TLS) detachAll() []error {
	const atOnce = 64
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, atOnce)
	t.attached.Range(func(a, _ any) bool {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			err := a.(*attachment).detach()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
		return true
	})
	all.Wait()
	return errs
}

func (t *TLS) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	errs := t.detachAll()
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	if t.records != nil {
		errs = append(errs, t.records.Close())
	}
	t.collection.Close()
	return errors.Join(errs...)
}
