package bpf

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sync/errgroup"
)

// Target is a file whose functions are to be watched.
type Target struct {
	Number    uint32                // names it in records; not 0
	Functions map[Function][]uint64 // file offsets, one or more each: SSL_read and SSL_read_ex are one Function
	// Callers are ranges of file offsets, at most 16, whose calls of d2i_X509 and i2d_X509 are the handshake's own; none: all are. They are about the
	// file that SSL_do_handshake is in: libssl, or a program that has all in it. They count for its windows, whatever file d2i_X509 is in.
	Callers [][2]uint64
	// StoreError is where X509_STORE_CTX has its error, in bytes; 0 if it is not known: X509_STORE_CTX_get_error, which costs more, should be watched then.
	StoreError uint32
	Go         *GoLayout // nil for OpenSSL
}

// GoLayout says where Go's structures have their fields, in bytes.
type GoLayout struct {
	Conn, IsClient, HandshakeComplete, Version, CipherSuite, DidResume, PeerCertificates, VerifiedChains, ServerName, ClientProtocol, Sysfd, Raw uint32
}

// attachment is what was attached to one target.
type attachment struct {
	tls      *TLS
	number   uint32
	close    sync.Once
	mu       sync.Mutex           // for what follows
	links    map[bool][]link.Link // by whether they open windows
	programs []*ebpf.Program
}

// Attach watches the functions of a file, in all processes that run it now or later. The path is used only during the call. The Closer detaches; it
// may be called after the Kernel was closed. A Number is for one file at a time, which may be attached
// to more than once: what Callers and Go say is then the same, or said last.
func (t *TLS) Attach(path string, target Target) (io.Closer, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, fmt.Errorf("attach to %s: %w", path, os.ErrClosed)
	}
	if err := target.check(); err != nil {
		return nil, fmt.Errorf("attach to %s: %w", path, err)
	}
	a := &attachment{tls: t, number: target.Number, links: map[bool][]link.Link{}}
	t.know(a.number)
	err := a.describe(&target)
	if err == nil {
		err = a.attach(path, target.Functions)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %s: %w", path, err), a.detach())
	}
	t.attached.Store(a, true)
	return a, nil
}

func (g *Target) check() error {
	if g.Number == 0 {
		return errors.New("a target has no number")
	}
	if len(g.Callers) > len(tlsTarget{}.Callers) {
		return fmt.Errorf("%d ranges of callers, at most %d are taken", len(g.Callers), len(tlsTarget{}.Callers))
	}
	for _, c := range g.Callers {
		if c[0] >= c[1] || c[1] > math.MaxUint32 {
			return fmt.Errorf("callers from offset %#x to %#x", c[0], c[1])
		}
	}
	for f, offsets := range g.Functions {
		if !slices.ContainsFunc(userHooks, func(h userHook) bool { return h.function == f }) {
			return fmt.Errorf("%s is not watched", f)
		}
		for _, o := range offsets {
			if o == 0 || o > math.MaxUint32 {
				return fmt.Errorf("%s at offset %#x", f, o)
			}
		}
	}
	return nil
}

// describe tells the programs of the target, before they run for it.
func (a *attachment) describe(g *Target) error {
	var d tlsTarget
	for i, c := range g.Callers {
		d.Callers[i].From, d.Callers[i].To = uint32(c[0]), uint32(c[1])
	}
	d.ErrorAt = g.StoreError
	if err := a.tls.collection.Maps["targets"].Put(a.number, &d); err != nil {
		return fmt.Errorf("describe target %d: %w", a.number, err)
	}
	if g.Go == nil {
		return nil
	}
	l := g.Go
	layout := tlsGoLayout{
		Conn: l.Conn, IsClient: l.IsClient, HandshakeComplete: l.HandshakeComplete, Version: l.Version, CipherSuite: l.CipherSuite,
		DidResume: l.DidResume, PeerCertificates: l.PeerCertificates, VerifiedChains: l.VerifiedChains, ServerName: l.ServerName,
		ClientProtocol: l.ClientProtocol, Sysfd: l.Sysfd, Raw: l.Raw,
	}
	if err := a.tls.collection.Maps["go_layouts"].Put(a.number, &layout); err != nil {
		return fmt.Errorf("describe Go target %d: %w", a.number, err)
	}
	return nil
}

func (a *attachment) attach(path string, functions map[Function][]uint64) error {
	file, err := link.OpenExecutable(path) // does not read it
	if err != nil {
		return err
	}
	for _, opens := range []bool{false, true} { // what opens windows comes last, and leaves first: none is left open
		var g errgroup.Group
		g.SetLimit(attachAtOnce)
		for _, h := range userHooks {
			if h.opens != opens {
				continue
			}
			if offsets := functions[h.function]; len(offsets) > 0 && a.tls.multi {
				g.Go(func() error {
					if err := a.attachMany(file, &h, offsets); err != nil {
						return fmt.Errorf("%s: %w", h.kernelName(), err)
					}
					return nil
				})
				continue
			}
			for _, offset := range functions[h.function] {
				g.Go(func() error {
					if err := a.attachHook(file, &h, offset); err != nil {
						return fmt.Errorf("%s at %#x: %w", h.kernelName(), offset, err)
					}
					return nil
				})
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if len(a.links[false])+len(a.links[true]) == 0 {
		return errors.New("nothing of it can be watched")
	}
	return nil
}

// attachAtOnce bounds how many probes of a target are attached or detached at once. The kernel waits long for each, but for many together.
const attachAtOnce = 16

// attachMany attaches a hook at all its offsets as one.
func (a *attachment) attachMany(file *link.Executable, h *userHook, offsets []uint64) error {
	p := a.tls.collection.Programs[h.program]
	if p == nil { // the kernel refused it, and it is known as missing
		return nil
	}
	opts := &link.UprobeMultiOptions{Addresses: offsets}
	for _, o := range offsets {
		opts.Cookies = append(opts.Cookies, uint64(a.number)<<32|o)
	}
	attach := file.UprobeMulti
	if h.returns {
		attach = file.UretprobeMulti
	}
	l, err := attach(nil, p, opts)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[h.opens] = append(a.links[h.opens], l)
	return nil
}

func (a *attachment) attachHook(file *link.Executable, h *userHook, offset uint64) error {
	as := uint64(a.number)<<32 | offset
	p, err := a.program(h, as)
	if p == nil || err != nil { // what the kernel refused is known as missing
		return err
	}
	opts := &link.UprobeOptions{Address: offset}
	if a.tls.cookies {
		opts.Cookie = as
	}
	attach := file.Uprobe
	if h.returns {
		attach = file.Uretprobe
	}
	l, err := attach("", p, opts)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[h.opens] = append(a.links[h.opens], l)
	return nil
}

// program gives the program of a hook. Where the kernel does not tell a program what it was attached as, each gets one that knows.
func (a *attachment) program(h *userHook, as uint64) (*ebpf.Program, error) {
	t := a.tls
	p := t.collection.Programs[h.program]
	if p == nil || t.cookies {
		return p, nil
	}
	one := only(t.spec, h.program)
	if err := one.Variables["attached_as"].Set(as); err != nil {
		return nil, fmt.Errorf("set attached_as: %w", err)
	}
	shared := maps.Clone(t.collection.Maps)
	delete(shared, ".rodata")
	c, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, fmt.Errorf("load a program of its own: %w", err)
	}
	defer c.Close()
	p = c.DetachProgram(h.program)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.programs = append(a.programs, p)
	return p, nil
}

// Close detaches everything from the target.
func (a *attachment) Close() (err error) {
	a.close.Do(func() {
		a.tls.mu.RLock()
		defer a.tls.mu.RUnlock()
		if !a.tls.closed {
			err = a.detach()
		}
	})
	return err
}

func (a *attachment) detach() error {
	a.tls.attached.Delete(a)
	var errs []error
	for _, opens := range []bool{true, false} {
		var g errgroup.Group
		g.SetLimit(attachAtOnce)
		for _, l := range a.links[opens] {
			g.Go(l.Close)
		}
		errs = append(errs, g.Wait())
	}
	for _, p := range a.programs {
		p.Close()
	}
	if !a.tls.forget(a.number) {
		return errors.Join(errs...)
	}
	for _, m := range []string{"targets", "go_layouts"} {
		if err := a.tls.collection.Maps[m].Delete(a.number); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("forget target %d: %w", a.number, err))
		}
	}
	return errors.Join(errs...)
}

// know counts the attachments of a number, and forget says whether the last one has gone.
func (t *TLS) know(number uint32) {
	t.numbersMu.Lock()
	defer t.numbersMu.Unlock()
	t.numbers[number]++
}

func (t *TLS) forget(number uint32) bool {
	t.numbersMu.Lock()
	defer t.numbersMu.Unlock()
	if t.numbers[number]--; t.numbers[number] > 0 {
		return false
	}
	delete(t.numbers, number)
	return true
}

// only gives a copy of spec with one of its programs.
func only(spec *ebpf.CollectionSpec, program string) *ebpf.CollectionSpec {
	one := spec.Copy()
	for name := range one.Programs {
		if name != program {
			delete(one.Programs, name)
		}
	}
	return one
}

// tryUprobe attaches a program to this process's own file for a moment, where nothing runs any more.
func (t *TLS) tryUprobe() error {
	const self = "/proc/self/exe"
	f, err := elf.Open(self)
	if err != nil {
		return fmt.Errorf("read own file: %w", err)
	}
	defer f.Close()
	var offset uint64
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && f.Entry >= p.Vaddr && f.Entry < p.Vaddr+p.Filesz {
			offset = f.Entry - p.Vaddr + p.Off
		}
	}
	a, err := t.Attach(self, Target{Number: math.MaxUint32, Functions: map[Function][]uint64{SSLFree: {offset}}})
	if err != nil {
		return err
	}
	return a.Close()
}
