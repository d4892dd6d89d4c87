package tlsprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// Config says how to find files.
type Config struct {
	// Attach probes a file in all processes, now and later; the Closer ends that. The path is valid during the call. A target's number may come
	// more than once, with other functions of the same file.
	Attach func(path string, target bpf.Target) (io.Closer, error)

	ProcRoot string // where proc is mounted

	// Delay is how long a process must have had a file mapped before the file is looked into. Files that many short processes have are looked into
	// at once.
	Delay time.Duration
	// Interval is how often all processes are looked through, for what news did not tell and for files that nobody uses any more. Where the kernel
	// gives no news, it is done each ScanInterval.
	Interval, ScanInterval time.Duration
	Linger                 time.Duration // a file stays attached so long after its last user was seen
	Recheck                time.Duration // after that a file that was judged is looked at again: somebody may have written into it
	Recover                time.Duration // connections of Go programs that are older than the agent are looked for so long after a file was attached

	Attaches   float64 // per second, for a long time
	Burst      int     // attaches at once
	MaxTargets int     // attached at a time
	MaxWaiting int     // files that wait to be looked into
	MaxJudged  int     // files that are remembered, those of no interest included
}

// Default is how a node is watched.
func Default() Config {
	return Config{
		ProcRoot: "/proc",
		Delay:    time.Second, Interval: time.Minute, ScanInterval: 10 * time.Second, Linger: time.Minute, Recheck: 10 * time.Minute, Recover: 10 * time.Minute,
		Attaches: 10, Burst: 20, MaxTargets: 512, MaxWaiting: 4096, MaxJudged: 16384,
	}
}

// Validate joins all faults.
func (c *Config) Validate() error {
	var errs []error
	bad := func(wrong bool, what string) {
		if wrong {
			errs = append(errs, errors.New(what))
		}
	}
	bad(c.Attach == nil, "attach: nothing is found for nobody")
	bad(c.ProcRoot == "", "proc root: it is empty")
	bad(c.Delay < 0 || c.Linger < 0 || c.Recover < 0, "delay, linger, recover: one is negative")
	bad(c.Interval <= 0 || c.ScanInterval <= 0 || c.Recheck <= 0, "interval, scan interval, recheck: one is not positive")
	bad(c.Attaches <= 0 || c.Burst < 1, "attaches: without any nothing is seen")
	bad(c.MaxTargets < 1 || c.MaxWaiting < 1 || c.MaxJudged < 1, "maximum of targets, waiting, judged files: one is too small")
	return errors.Join(errs...)
}

// Finder finds the files with TLS code that processes run, and has them probed. Its methods are for any goroutine.
type Finder struct {
	cfg      Config
	attaches *rate.Limiter
	judges   *rate.Limiter
	wake     chan struct{} // something is to be done

	mu       sync.Mutex
	judged   *lru.Cache[inode, *sighting]
	contents *lru.Cache[identity, *file]
	attached map[uint32]*file
	waiting  []*sighting // by the time they are due
	ready    []*sighting
	requests map[request]bool
	users    *lru.Cache[uint32, []mapping] // of OpenSSL's files that are attached, by process: it may be gone when it is asked for
	last     uint32                        // number of a target
	rounds   int                           // looks through all processes
	stuck    int                           // goroutines that the kernel holds up
	patience time.Duration
	report   report
}

// New starts nothing.
func New(cfg Config) (*Finder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("find TLS code: %w", err)
	}
	return &Finder{
		cfg: cfg, wake: make(chan struct{}, 1),
		attaches: rate.NewLimiter(rate.Limit(cfg.Attaches), cfg.Burst), judges: rate.NewLimiter(200, 200),
		judged: lru.New[inode, *sighting](cfg.MaxJudged), contents: lru.New[identity, *file](cfg.MaxJudged),
		attached: map[uint32]*file{}, requests: map[request]bool{}, users: lru.New[uint32, []mapping](maxUsers), report: newReport(), patience: patience,
	}, nil
}

// Run finds files until ctx ends; then it detaches all and returns nil. What the kernel refuses is told by Missing.
func (f *Finder) Run(ctx context.Context) error {
	n, err := openNews()
	if err != nil {
		f.refused(err)
	}
	return f.follow(ctx, n)
}

// follow finds files by news, if there are any, and by looking through processes.
func (f *Finder) follow(ctx context.Context, n *news) error {
	g, ctx := errgroup.WithContext(ctx)
	lost := make(chan struct{}, 1)
	g.Go(func() error { return f.listen(ctx, n, lost) })
	g.Go(func() error { return f.sweep(ctx, n == nil, lost) })
	g.Go(func() error { return f.work(ctx) })
	err := g.Wait()
	f.detachAll()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

const listenInterval = 100 * time.Millisecond

// listen takes the kernel's news. Where some are lost, or CPUs come and go, all processes are looked through.
func (f *Finder) listen(ctx context.Context, n *news, lost chan<- struct{}) error {
	if n == nil {
		return nil
	}
	defer func() { n.Close() }()
	ask := func() {
		select {
		case lost <- struct{}{}:
		default:
		}
	}
	tick := time.NewTicker(listenInterval)
	defer tick.Stop()
	cpus := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if n.Read(func(m mapping) { f.see(&m, false) }) {
			f.count(lostNews)
			ask()
		}
		if time.Since(cpus) < 10*time.Second {
			continue
		}
		if cpus = time.Now(); n.Changed() {
			next, err := openNews()
			if err != nil { // the old ones still tell of most
				f.refused(err)
				continue
			}
			n.Read(func(m mapping) { f.see(&m, false) })
			n.Close()
			n = next
			ask()
		}
	}
}

// Unbound says that handshakes of a target could not be told by the functions that are always probed: its other ones are probed, too.
func (f *Finder) Unbound(target uint32) { f.request(request{target: target}) }

// Blind says it of a process whose handshakes are only seen on the wire: all its OpenSSL files are probed thoroughly, also if it has ended since.
func (f *Finder) Blind(tgid uint32) { f.request(request{tgid: tgid}) }

// request asks for all functions of a target, or of all targets of a process.
type request struct {
	target, tgid uint32
}

const (
	maxRequests = 256
	maxUsers    = 512 // processes
	maxUsed     = 4   // files of each
)

func (f *Finder) request(r request) {
	f.mu.Lock()
	if x := f.attached[r.target]; r.tgid == 0 && (x == nil || x.thorough && x.related) {
		f.mu.Unlock()
		return
	}
	if len(f.requests) < maxRequests { // it is asked again while it is wanted
		f.requests[r] = true
	}
	f.mu.Unlock()
	f.rouse()
}

func (f *Finder) rouse() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Finder) procPath(pid string, name string) string {
	return f.cfg.ProcRoot + string(os.PathSeparator) + pid + string(os.PathSeparator) + name
}
