package svid

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// BundleFile is where the authorities of a trust domain are: PEM certificates, or a SPIFFE bundle in JSON.
type BundleFile struct {
	TrustDomain spiffeid.TrustDomain
	Path        string
}

// ParseBundleFile reads "shop.example=/etc/ambit/shop.example.pem".
func ParseBundleFile(text string) (BundleFile, error) {
	name, path, ok := strings.Cut(text, "=")
	td, err := spiffeid.TrustDomainFromString(name)
	if !ok || err != nil || path == "" {
		return BundleFile{}, fmt.Errorf("%q is not a trust domain and a file, such as shop.example=/etc/ambit/shop.example.pem", clip(text))
	}
	return BundleFile{td, path}, nil
}

// AuthoritiesConfig says whose word counts about certificates that are seen.
type AuthoritiesConfig struct {
	Socket string       // of a Workload API, for its own trust domain and those it federates with; empty: none
	Files  []BundleFile // go before what the Workload API says of the same trust domain

	Poll   time.Duration // how often files are looked at; default 10s
	Logger *slog.Logger  // default slog.Default()
}

// Authorities are those of the trust domains that are known here. It judges certificates that were seen elsewhere, and needs none of its own. It is safe
// for concurrent use; Run runs once.
type Authorities struct {
	cfg  AuthoritiesConfig
	read [][]byte // the files as they were taken

	mu      sync.RWMutex
	files   *x509bundle.Set
	api     *x509bundle.Set
	missing map[string]string // what is wrong, by file or socket
}

// NewAuthorities reads the files; one that cannot be read is an error.
func NewAuthorities(cfg AuthoritiesConfig) (*Authorities, error) {
	if cfg.Poll <= 0 {
		cfg.Poll = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Socket != "" {
		if _, err := socketAddress(cfg.Socket); err != nil {
			return nil, err
		}
	}
	a := &Authorities{cfg: cfg, read: make([][]byte, len(cfg.Files)), files: x509bundle.NewSet(), api: x509bundle.NewSet(), missing: map[string]string{}}
	for i := range cfg.Files {
		if err := a.readFile(i); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Run keeps the authorities up to date until ctx ends. A Workload API that is away is waited for, and what it said stays.
func (a *Authorities) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	if a.cfg.Socket != "" {
		client, err := a.connect(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		wait.Go(func() { a.watch(ctx, client) })
	}
	tick := time.NewTicker(a.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for i, f := range a.cfg.Files {
			a.note(f.Path, a.readFile(i))
		}
	}
}

func (a *Authorities) connect(ctx context.Context) (*workloadapi.Client, error) {
	address, err := socketAddress(a.cfg.Socket)
	if err != nil {
		return nil, err
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(address), workloadapi.WithBackoffStrategy(waits{}), workloadapi.WithDialOptions(
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: shortestWait, Multiplier: 2, Jitter: 0.2, MaxDelay: longestWait},
			MinConnectTimeout: longestWait,
		})))
	if err != nil {
		return nil, fmt.Errorf("use the Workload API at %s: %w", a.cfg.Socket, err)
	}
	return client, nil
}

func (a *Authorities) watch(ctx context.Context, client *workloadapi.Client) {
	for ctx.Err() == nil {
		_ = client.WatchX509Bundles(ctx, bundleWatcher{ctx, a}) // told to the watcher
		select {
		case <-ctx.Done():
		case <-time.After(longestWait):
		}
	}
}

// bundleWatcher implements [workloadapi.X509BundleWatcher].
type bundleWatcher struct {
	ctx         context.Context
	authorities *Authorities
}

func (w bundleWatcher) OnX509BundlesUpdate(set *x509bundle.Set) {
	w.authorities.mu.Lock()
	w.authorities.api = set
	w.authorities.mu.Unlock()
	w.authorities.note(w.authorities.cfg.Socket, nil)
}

func (w bundleWatcher) OnX509BundlesWatchError(err error) {
	if err != nil && w.ctx.Err() == nil {
		w.authorities.note(w.authorities.cfg.Socket, err)
	}
}

// note keeps what is wrong with an origin, and logs when that begins.
func (a *Authorities) note(origin string, err error) {
	a.mu.Lock()
	_, was := a.missing[origin]
	if err == nil {
		delete(a.missing, origin)
	} else {
		a.missing[origin] = oneLine(err)
	}
	a.mu.Unlock()
	if err != nil && !was {
		a.cfg.Logger.Warn("authorities of trust domains cannot be renewed, and stay as they were", "from", origin, "reason", oneLine(err))
	}
}

// readFile takes a file's authorities, if they changed.
func (a *Authorities) readFile(i int) error {
	f := a.cfg.Files[i]
	data, err := readFile(f.Path)
	if err != nil {
		return fmt.Errorf("read the authorities of %s: %w", f.TrustDomain, err)
	}
	if a.read[i] != nil && bytes.Equal(data, a.read[i]) {
		return nil
	}
	roots, err := parseAuthorities(f.TrustDomain, data)
	if err != nil {
		return fmt.Errorf("read the authorities of %s in %s: %w", f.TrustDomain, f.Path, err)
	}
	a.files.Add(x509bundle.FromX509Authorities(f.TrustDomain, roots)) // in the place of those before
	a.read[i] = data
	return nil
}

func parseAuthorities(td spiffeid.TrustDomain, data []byte) ([]*x509.Certificate, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return certificates(data)
	}
	b, err := spiffebundle.Parse(td, data)
	if err != nil {
		return nil, err
	}
	roots := b.X509Authorities()
	if len(roots) == 0 {
		return nil, errors.New("there is no X.509 authority in it")
	}
	return roots, nil
}

// Missing says what is wrong at the moment, for a heartbeat.
func (a *Authorities) Missing() (lines []string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for origin := range a.missing {
		lines = append(lines, "authorities of trust domains: "+origin+" cannot be read; those that were known stay")
	}
	slices.Sort(lines)
	return lines
}

// TrustDomains are those whose authorities are known, sorted.
func (a *Authorities) TrustDomains() []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var names []string
	for _, set := range []*x509bundle.Set{a.files, a.api} {
		for _, b := range set.Bundles() {
			names = append(names, b.TrustDomain().Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// GetX509BundleForTrustDomain implements [x509bundle.Source].
func (a *Authorities) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if b, ok := a.files.Get(td); ok {
		return b, nil
	}
	a.mu.RLock()
	api := a.api
	a.mu.RUnlock()
	return api.GetX509BundleForTrustDomain(td)
}

// JudgeDER says whether a chain, leaf first, was a valid SVID at that time, of a trust domain whose authorities are known now.
func (a *Authorities) JudgeDER(chain [][]byte, at time.Time) Verdict { return judgeDER(chain, a, at) }
