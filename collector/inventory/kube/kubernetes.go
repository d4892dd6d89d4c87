// Package kube tells what a Kubernetes cluster declares: its service accounts, whose they are, and how much they may do. It is the only part of
// the collector that talks to the Kubernetes API.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ambit-nhi/ambit/event"
)

// Config of a source. TrustDomain, Template and Cluster are needed.
type Config struct {
	Kubeconfig   string // file; default: the service account of the pod that this runs in
	TrustDomain  event.TrustDomain
	Template     event.IdentityTemplate
	Cluster      string        // name of the cluster in the inventory
	LegacyTokens bool          // look for tokens in Secrets, which needs the right to list them; only their metadata is read
	Settle       time.Duration // how long to wait after a change for more of them; default 2s
	Repeat       time.Duration // how often to tell all without a change; default 15m
	Logger       *slog.Logger  // default slog.Default

	wrap func(*rest.Config) // of tests
}

// quietClient keeps the client library, which has one logger for the whole program, from writing to standard error: what matters comes to
// complain. A logger that somebody else gave it stays.
var quietClient = sync.OnceFunc(func() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
})

// Kubernetes is a source of declarations.
type Kubernetes struct {
	cfg       Config
	log       *slog.Logger
	api       *api
	informers map[string]cache.SharedIndexInformer // by resource
	changed   chan struct{}

	mu      sync.Mutex
	trouble map[string]string // by resource, what was logged since it was watched last; "" is all of them
}

// ErrPodIdentities means that pods, not service accounts, have identities, so that there is nothing to declare.
var ErrPodIdentities = errors.New("kubernetes.identity holds {pod}, so that a service account has no identity of its own to be declared")

// New reads how to reach the API. It connects to nothing. Besides errors of the configuration there is ErrPodIdentities.
func New(cfg Config) (*Kubernetes, error) {
	if cfg.Template.Identity(cfg.TrustDomain, "n", "s", "a") != cfg.Template.Identity(cfg.TrustDomain, "n", "s", "b") {
		return nil, ErrPodIdentities
	}
	if cfg.Settle == 0 {
		cfg.Settle = 2 * time.Second
	}
	if cfg.Repeat == 0 {
		cfg.Repeat = 15 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	quietClient()
	a, err := newAPI(&cfg)
	if err != nil {
		return nil, err
	}
	k := &Kubernetes{
		cfg: cfg, log: cfg.Logger, api: a, informers: map[string]cache.SharedIndexInformer{}, changed: make(chan struct{}, 1), trouble: map[string]string{},
	}
	for _, w := range a.watched(cfg.LegacyTokens) {
		if err := k.inform(w); err != nil {
			return nil, fmt.Errorf("watch %s: %w", w.resource, err)
		}
	}
	return k, nil
}

func (k *Kubernetes) inform(w watched) error {
	// The library tells of no connection that is refused: it only tries again.
	list, watching := w.listWatch.ListWithContextFunc, w.listWatch.WatchFuncWithContext
	w.listWatch.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		out, err := list(ctx, o)
		if err != nil { // what may be listed may still not be watched
			k.asked(ctx, w.resource, err)
		}
		return out, err
	}
	w.listWatch.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		out, err := watching(ctx, o)
		k.asked(ctx, w.resource, err)
		if o.SendInitialEvents != nil && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)) {
			err = errors.New(err.Error()) // at those it would wait, for up to half a minute, without looking whether it is to stop
		}
		return out, err
	}
	i := cache.NewSharedIndexInformer(w.listWatch, w.object, 0, cache.Indexers{})
	note := func(any) {
		select {
		case k.changed <- struct{}{}:
		default:
		}
	}
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, o any) { note(o) }, DeleteFunc: note})
	k.informers[w.resource] = i
	return errors.Join(err, i.SetTransform(slim), i.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		k.complain(w.resource, err)
	}))
}

// slim drops what is large and not needed.
func slim(object any) (any, error) {
	if m, ok := object.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return object, nil
}

// asked notes how a request went.
func (k *Kubernetes) asked(ctx context.Context, resource string, err error) {
	if err != nil {
		if ctx.Err() == nil {
			k.complain(resource, err)
		}
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.trouble) > 0 {
		delete(k.trouble, "")
		delete(k.trouble, resource)
	}
}

// complain logs why a resource cannot be watched, once for each reason in a row. An API that is away is so for all of them.
func (k *Kubernetes) complain(resource string, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // the watch starts anew
	}
	key, text := "", "the API is away"
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		key, text = resource, "not allowed; deploy/rbac/collector.yaml has the rights that it needs"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.trouble[key] == text {
		return
	}
	k.trouble[key] = text
	k.log.Warn("the inventory of Kubernetes stands still", "cluster", k.cfg.Cluster, "resource", resource, "why", text, "error", err)
}

// Run watches until ctx ends, and tells all declarations at first and after each change. It never tells a part: until everything was read it is
// silent, and while the API is away what was read last holds. refused counts accounts that cannot be declared. Where tell fails it is called again.
func (k *Kubernetes) Run(ctx context.Context, tell func(ctx context.Context, all []event.Declaration, refused int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var synced []cache.InformerSynced
	for _, i := range k.informers {
		synced = append(synced, i.HasSynced)
		group.Go(func() error {
			i.RunWithContext(ctx)
			return nil
		})
	}
	group.Go(func() error {
		if !cache.WaitForCacheSync(ctx.Done(), synced...) {
			return nil // asked to stop
		}
		return k.tell(ctx, tell)
	})
	err := group.Wait()
	k.api.close()
	return err
}

func (k *Kubernetes) tell(ctx context.Context, tell func(context.Context, []event.Declaration, int) error) error {
	const longest = time.Minute
	wait := k.cfg.Settle
	for {
		select { // what is read now holds all changes so far
		case <-k.changed:
		default:
		}
		next := k.cfg.Repeat
		all, refused := k.declare(k.objects())
		if err := tell(ctx, all, refused); err == nil {
			wait = k.cfg.Settle
		} else if ctx.Err() == nil {
			k.log.Warn("the inventory of Kubernetes could not be kept; it is tried again", "error", err)
			wait = min(2*wait, longest)
			next = wait
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			continue
		case <-k.changed:
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (k *Kubernetes) objects() *objects {
	return &objects{
		accounts: all[*corev1.ServiceAccount](k.informers["serviceaccounts"]), roles: all[*rbacv1.Role](k.informers["roles"]),
		clusterRoles: all[*rbacv1.ClusterRole](k.informers["clusterroles"]), bindings: all[*rbacv1.RoleBinding](k.informers["rolebindings"]),
		clusterBindings: all[*rbacv1.ClusterRoleBinding](k.informers["clusterrolebindings"]),
		tokens:          all[*metav1.PartialObjectMetadata](k.informers["secrets"]),
	}
}

func all[T any](i cache.SharedIndexInformer) []T {
	if i == nil {
		return nil
	}
	var out []T
	for _, object := range i.GetStore().List() {
		if o, ok := object.(T); ok {
			out = append(out, o)
		}
	}
	return out
}
