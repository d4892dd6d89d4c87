package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// DenyConfig says where the part of the kernel side lives that refuses.
type DenyConfig struct {
	CgroupRoot string // where cgroup2 is mounted
	Pins       string // folder in a BPF file system of what outlives the process; made if it is missing
}

// Deny is the part of the kernel side that refuses what identities may not reach. Its maps and links are pinned: what was applied goes on without the
// process, each rule until its time on the boot clock, and the next [LoadDeny] finds it. Its methods are for one goroutine.
type Deny struct {
	cfg        DenyConfig
	collection *ebpf.Collection
	links      map[string]link.Link // that are attached, by program
	counts     *ebpf.Memory
	made       *ring
	armed      bool
	cuts       bool // connections by their packets
	dropping   bool // all that are established
	known      denyState
}

// denyHooks refuse. While nothing is denied, none is attached but that of new cgroups, once it was: the kernel detaches it in its own time, and before 5.11
// refuses to attach it again until then.
var denyHooks = []hook{
	{"deny_mkdir", "tp_btf/cgroup_mkdir", "cgroups that are made below those of a denied identity", true, tracing, 0},
	{"deny_out", "cgroup_skb/egress", "refusing datagrams of connected and of raw sockets", true, cgroup(ebpf.AttachCGroupInetEgress), 0},
	{"deny_in", "cgroup_skb/ingress", "refusing peers", true, cgroup(ebpf.AttachCGroupInetIngress), 0},
	{"deny_sendmsg4", "cgroup/sendmsg4", "refusing datagrams (IPv4)", true, first(ebpf.AttachCGroupUDP4Sendmsg), 0},
	{"deny_sendmsg6", "cgroup/sendmsg6", "refusing datagrams (IPv6)", true, first(ebpf.AttachCGroupUDP6Sendmsg), 0},
	{"deny_connect4", "cgroup/connect4", "refusing connections (IPv4)", true, first(ebpf.AttachCGroupInet4Connect), 0},
	{"deny_connect6", "cgroup/connect6", "refusing connections (IPv6)", true, first(ebpf.AttachCGroupInet6Connect), 0},
}

// LoadDeny loads the programs that refuse, and goes on with what an earlier process pinned: what was in force stays so without a break. The caller closes
// the Deny, which changes nothing of what is in force.
func LoadDeny(cfg DenyConfig) (*Deny, error) {
	if err := rlimit.RemoveMemlock(); err != nil { // kernels before 5.11 count maps against it
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if err := MakePins(cfg.Pins); err != nil {
		return nil, err
	}
	spec, err := loadDeny()
	if err != nil {
		return nil, fmt.Errorf("read the object of deny: %w", err)
	}
	pinned, err := pinnedMaps(cfg.Pins, spec)
	if err != nil {
		return nil, err
	}
	d := &Deny{cfg: cfg, links: map[string]link.Link{}}
	d.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: pinned})
	for _, m := range pinned {
		m.Close() // the collection has its own
	}
	if err != nil {
		return nil, fmt.Errorf("load programs of deny: %w", err)
	}
	if err := d.start(len(pinned) > 0); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Deny) start(old bool) (err error) {
	if d.counts, err = d.collection.Maps["deny_counts"].Memory(); err != nil {
		return fmt.Errorf("map the counts of decisions: %w", err)
	}
	if d.made, err = newRing(d.collection.Maps["deny_made"]); err != nil {
		return fmt.Errorf("open ring of new cgroups: %w", err)
	}
	if d.known, err = d.read(); err != nil {
		return err
	}
	if !old {
		for name, m := range d.collection.Maps {
			if err := m.Pin(filepath.Join(d.cfg.Pins, name)); err != nil {
				return fmt.Errorf("pin %s: %w", name, err)
			}
		}
	}
	var control denyDenyControl
	if err := d.collection.Maps["deny_control"].Lookup(uint32(0), &control); err != nil {
		return fmt.Errorf("read whether anything is denied: %w", err)
	}
	d.armed, d.cuts, d.dropping = control.Armed != 0, control.Cuts != 0, control.Established != 0
	if err := d.adopt(); err != nil {
		return err
	}
	if d.armed {
		return d.attach()
	}
	return nil
}

// adopt gives the links of an earlier process the programs of this one. Those of tracing keep theirs: they are attached anew, and both do the same meanwhile.
func (d *Deny) adopt() error {
	for _, h := range denyHooks {
		path := d.pin(h)
		l, err := link.LoadPinnedLink(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open pinned link of %s: %w", h.name, err)
		}
		d.links[h.program] = l
		err = l.Update(d.collection.Programs[h.program])
		if errors.Is(err, link.ErrNotSupported) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			delete(d.links, h.program)
			next := path + "_next"
			if err = os.Remove(next); err == nil || errors.Is(err, fs.ErrNotExist) { // of one who was killed here
				err = d.attachOne(h, next)
			}
			if err == nil {
				err = os.Rename(next, path)
			}
			err = errors.Join(err, l.Close())
		}
		if err != nil {
			return fmt.Errorf("renew %s: %w", h.name, err)
		}
	}
	return nil
}

func (d *Deny) pin(h hook) string { return filepath.Join(d.cfg.Pins, "link_"+h.program) }

func (d *Deny) attach() error {
	for _, h := range denyHooks {
		if d.links[h.program] != nil {
			continue
		}
		if err := d.attachOne(h, d.pin(h)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Deny) attachOne(h hook, pin string) error {
	l, err := h.attach(d.collection.Programs[h.program], Config{CgroupRoot: d.cfg.CgroupRoot})
	if err != nil {
		return fmt.Errorf("attach %s: %w", h.name, err)
	}
	if err := l.Pin(pin); err != nil {
		return errors.Join(fmt.Errorf("pin the link of %s: %w", h.name, err), l.Close())
	}
	d.links[h.program] = l
	return nil
}

func (d *Deny) detach() error {
	var errs []error
	for program, l := range d.links {
		if d.collection.Programs[program].Type() == ebpf.Tracing {
			continue
		}
		if err := errors.Join(l.Unpin(), l.Close()); err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", program, err))
		}
		delete(d.links, program)
	}
	return errors.Join(errs...)
}

// Arm has the kernel look at the rules, or at nothing at all: with false, everything passes from the moment that it returns. What was applied stays in the
// maps, and the programs stay where they are until [Deny.Detach].
func (d *Deny) Arm(on bool) error {
	if on == d.armed {
		return nil
	}
	if on {
		if err := d.attach(); err != nil {
			return err
		}
	}
	return d.control(on, d.cuts, d.dropping)
}

// Detach takes the programs away while the kernel looks at no rules, so that nobody pays for them. The next [Deny.Arm] attaches them again, which takes
// milliseconds.
func (d *Deny) Detach() error {
	if d.armed {
		return errors.New("detach deny: it is armed")
	}
	return d.detach()
}

// Armed says whether the kernel looks at the rules.
func (d *Deny) Armed() bool { return d.armed }

func (d *Deny) control(armed, cuts, dropping bool) error {
	var c denyDenyControl
	if armed {
		c.Armed = 1
	}
	if cuts {
		c.Cuts = 1
	}
	if dropping {
		c.Established = 1
	}
	if err := d.collection.Maps["deny_control"].Put(uint32(0), &c); err != nil {
		return fmt.Errorf("switch deny: %w", err)
	}
	d.armed, d.cuts, d.dropping = armed, cuts, dropping
	return nil
}

// CutPackets drops all packets of a socket, by its cookie, until a time of the boot clock: for connections that cannot be ended otherwise. Their ends
// notice by their own timeouts.
func (d *Deny) CutPackets(cookie uint64, until time.Duration) error {
	if err := d.collection.Maps["deny_cuts"].Put(cookie, uint64(until)); err != nil {
		return fmt.Errorf("cut a connection by its packets: %w", err)
	}
	if d.cuts {
		return nil
	}
	return d.control(d.armed, true, d.dropping)
}

// DropEstablished has the kernel drop the packets of all established connections that rules are against, or not. Their ends notice by their own timeouts. It
// is for kernels that cannot end connections from outside.
func (d *Deny) DropEstablished(on bool) error { return d.control(d.armed, d.cuts, on) }

// NewCgroups gives the cgroups that were made since the last call, while the kernel looks at the rules. Some may be missing.
func (d *Deny) NewCgroups() ([]uint64, error) {
	var ids []uint64
	for sample, err := range d.made.drain {
		if err != nil {
			return ids, fmt.Errorf("read new cgroups: %w", err)
		}
		ids = append(ids, binary.NativeEndian.Uint64(sample))
	}
	return ids, nil
}

// Close gives everything free that this process holds. What is pinned goes on.
func (d *Deny) Close() error {
	var errs []error
	for _, l := range d.links {
		errs = append(errs, l.Close())
	}
	clear(d.links)
	if d.made != nil {
		errs = append(errs, d.made.Close())
		d.made = nil
	}
	if d.collection != nil {
		d.collection.Close()
	}
	return errors.Join(errs...)
}

// ProbeDeny loads each program alone, attaches and pins nothing, and says what the kernel answered.
func ProbeDeny() []HookStatus {
	status := make([]HookStatus, len(denyHooks))
	memlock := rlimit.RemoveMemlock()
	spec, err := loadDeny()
	for i, h := range denyHooks {
		status[i] = HookStatus{h.name, h.purpose, false, errors.Join(err, memlock)}
		if status[i].Err == nil {
			status[i].Err = tryProgram(spec, h.program)
		}
	}
	return status
}

// BootTime reads the clock that rules end by: it runs while the machine sleeps, and nobody sets it.
func BootTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
