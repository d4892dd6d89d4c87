package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/ambit-nhi/ambit/agent/peer"
)

// kind is a kind of objects that is watched.
type kind struct {
	group    string // of the API; empty for the core
	resource string
	object   runtime.Object // of the type that a watch gives
	list     func() runtime.Object
	convert  func(runtime.Object) *object
}

var watched = []kind{
	{"", "pods", &corev1.Pod{}, func() runtime.Object { return &corev1.PodList{} }, convertPod},
	{"", "services", &corev1.Service{}, func() runtime.Object { return &corev1.ServiceList{} }, convertService},
	{"discovery.k8s.io", "endpointslices", &discoveryv1.EndpointSlice{}, func() runtime.Object { return &discoveryv1.EndpointSliceList{} }, convertSlice},
	{"", "nodes", &corev1.Node{}, func() runtime.Object { return &corev1.NodeList{} }, convertNode},
}

// object is what is taken of an object. It stands in for the object while a list is gathered, so that never more than a page is held whole.
type object struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, namespace and resource version
	key               key
	change            peer.Change
	owned             *owned // of pods
}

// key tells objects of a kind apart: pods by uid, so that a pod that follows another by its name is another.
type key struct{ namespace, name string }

func newObject(m *metav1.ObjectMeta, k key, c peer.Change) *object {
	return &object{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, ResourceVersion: m.ResourceVersion}, key: k, change: c}
}

// DeepCopyObject makes it an object for the client library, which copies none that it gathers.
func (o *object) DeepCopyObject() runtime.Object {
	c := *o
	return &c
}

type objects struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

func (l *objects) DeepCopyObject() runtime.Object {
	c := *l
	return &c
}

// feed tells the objects of one kind. It is a store for the client library's reflector, which watches, lists anew where it has to, and says what
// there is; the feed only knows what was told. All methods but those of listWatch are called from one goroutine.
type feed struct {
	kind      kind
	client    rest.Interface
	codec     runtime.ParameterCodec
	status    *status
	rights    *rights
	addresses *addresses
	pods      *nodePods // nil for other kinds
	listing   *underway
	node      string

	told map[key]struct{}
}

func newFeed(w *Watcher, k kind) *feed {
	f := &feed{
		kind: k, client: w.api.core, codec: w.api.parameters, status: w.status, rights: w.rights, addresses: w.addresses, node: w.cfg.Node,
		told: map[key]struct{}{},
	}
	if k.group != "" {
		f.client = w.api.discovery
	}
	if k.resource == "pods" {
		f.pods = w.pods
	}
	return f
}

// run lists and watches until ctx ends.
func (f *feed) run(ctx context.Context) error {
	pace := pace{ctx: ctx, back: f.status.back}
	reflector := cache.NewReflectorWithOptions(f.listWatch(), f.kind.object, f, cache.ReflectorOptions{
		Name: f.kind.resource, TypeDescription: f.kind.resource, Clock: pace, Backoff: backoff(),
	})
	delay := backoff().DelayWithReset(pace, time.Minute)
	for ctx.Err() == nil {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			slog.Debug("watch Kubernetes", "resource", f.kind.resource, "error", err) // told to people by its status
		}
		<-pace.After(delay())
	}
	return nil
}

func (f *feed) listWatch() *cache.ListWatch {
	return &cache.ListWatch{ListWithContextFunc: f.list, WatchFuncWithContext: f.watch}
}

// list gets one page, where the server cannot stream.
func (f *feed) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if !f.listing.begin() {
		return nil, context.Canceled
	}
	defer f.listing.end()
	page := f.kind.list()
	f.status.asking(f.kind.resource)
	err := f.client.Get().Resource(f.kind.resource).VersionedParams(&options, f.codec).MaxRetries(0).Do(ctx).Into(page)
	f.asked(ctx, "list", err)
	if err != nil {
		return nil, err
	}
	return f.shrink(page)
}

func (f *feed) shrink(page runtime.Object) (*objects, error) {
	m, err := meta.ListAccessor(page)
	if err != nil {
		return nil, fmt.Errorf("read list of %s: %w", f.kind.resource, err)
	}
	small := &objects{ListMeta: metav1.ListMeta{
		ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount(),
	}}
	err = meta.EachListItem(page, func(o runtime.Object) error {
		small.Items = append(small.Items, f.kind.convert(o))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read list of %s: %w", f.kind.resource, err)
	}
	return small, nil
}

func (f *feed) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	var timeout time.Duration
	if options.TimeoutSeconds != nil {
		timeout = time.Duration(*options.TimeoutSeconds) * time.Second
	}
	f.status.asking(f.kind.resource)
	// Without retries of the client's own: they would keep to themselves for minutes that the server is away.
	w, err := f.client.Get().Resource(f.kind.resource).VersionedParams(&options, f.codec).Timeout(timeout).MaxRetries(0).Watch(ctx)
	f.asked(ctx, "watch", err)
	return w, err
}

func (f *feed) asked(ctx context.Context, verb string, err error) {
	if ctx.Err() != nil { // no answer, but no fault either
		return
	}
	f.rights.asked(right{verb, f.kind.group, f.kind.resource}, err)
	f.status.asked(f.kind.resource, verb, err)
}

// Transformer shrinks objects as they are streamed.
func (f *feed) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return f.small(o), nil }
}

func (f *feed) small(o any) *object {
	if small, ok := o.(*object); ok {
		return small
	}
	return f.kind.convert(o.(runtime.Object)) // the reflector checked its type
}

// Add tells a new object.
func (f *feed) Add(o any) error {
	f.put(f.small(o))
	return nil
}

// Update tells an object's new state.
func (f *feed) Update(o any) error { return f.Add(o) }

// Delete tells that an object is gone.
func (f *feed) Delete(o any) error {
	f.drop(f.small(o).key)
	return nil
}

func (f *feed) drop(k key) {
	if _, ok := f.told[k]; !ok {
		return
	}
	delete(f.told, k)
	f.noticeNode(k, false)
	if f.pods != nil {
		f.pods.delete(k.name)
	}
	f.addresses.apply([]peer.Change{f.kind.gone(k)})
}

func (f *feed) put(o *object) {
	if o.change == (peer.Change{}) { // nothing of it is of use (any more)
		f.drop(o.key)
		return
	}
	f.told[o.key] = struct{}{}
	f.noticeNode(o.key, true)
	if f.pods != nil && o.owned.of(f.node) {
		f.pods.put(o.owned)
	}
	f.addresses.apply([]peer.Change{o.change})
}

// Replace tells all that there is now. What ended meanwhile is told first: its addresses may be others' by now.
func (f *feed) Replace(list []any, _ string) error {
	there := make(map[key]struct{}, len(list))
	changes := make([]peer.Change, 0, len(list))
	var here []*owned
	for i := range list {
		o := f.small(list[i])
		if o.change == (peer.Change{}) {
			continue
		}
		there[o.key] = struct{}{}
		changes = append(changes, o.change)
		if f.pods != nil && o.owned.of(f.node) {
			here = append(here, o.owned)
		}
	}
	var gone []peer.Change
	for k := range f.told {
		if _, ok := there[k]; !ok {
			gone = append(gone, f.kind.gone(k))
		}
	}
	f.told = there
	if f.pods != nil {
		f.pods.replace(here)
	}
	f.addresses.apply(gone)
	f.addresses.apply(changes)
	_, known := there[key{name: f.node}]
	f.noticeNode(key{name: f.node}, known)
	f.status.told(f.kind.resource)
	return nil
}

// noticeNode notices whether the API knows the node that this is.
func (f *feed) noticeNode(k key, there bool) {
	if f.kind.resource == "nodes" && k.name == f.node {
		f.status.nodeKnown(there)
	}
}

// Resync has nothing to do: nothing changes by itself.
func (f *feed) Resync() error { return nil }

// gone is the end of an object of which only the key is known.
func (k kind) gone(at key) peer.Change {
	switch k.resource {
	case "pods":
		return peer.Change{Pod: &peer.Pod{UID: at.name}, Deleted: true}
	case "services":
		return peer.Change{Service: &peer.Service{Namespace: at.namespace, Name: at.name}, Deleted: true}
	case "endpointslices":
		return peer.Change{Slice: &peer.EndpointSlice{Namespace: at.namespace, Name: at.name}, Deleted: true}
	default:
		return peer.Change{Node: &peer.Node{Name: at.name}, Deleted: true}
	}
}

func version(m *metav1.ObjectMeta) uint64 {
	v, _ := strconv.ParseUint(m.ResourceVersion, 10, 64) // else 0: unknown
	return v
}
