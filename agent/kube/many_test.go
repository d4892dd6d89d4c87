package kube

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kuberuntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
)

var many = flag.Int("pods", 300, "how many pods there are in TestManyPods")

// counting keeps nothing.
type counting struct{ pods, changes, deleted atomic.Int64 }

func (c *counting) PutPod(workload.Pod)          { c.pods.Add(1) }
func (c *counting) DeletePod(string)             {}
func (c *counting) ReplacePods(p []workload.Pod) { c.pods.Store(int64(len(p))) }
func (c *counting) Apply(changes []peer.Change) {
	for _, change := range changes {
		if change.Pod != nil && change.Deleted {
			c.deleted.Add(1)
		} else if change.Pod != nil {
			c.changes.Add(1)
		}
	}
}

// manyPods makes pods as large as they are in life, with several requests under way.
func manyPods(t *testing.T, a admin, n int) {
	t.Helper()
	environment := make([]corev1.EnvVar, 40)
	for i := range environment {
		environment[i] = corev1.EnvVar{Name: fmt.Sprint("SETTING_", i), Value: strings.Repeat("v", 60)}
	}
	next := make(chan int)
	var makers sync.WaitGroup
	var failed atomic.Pointer[error]
	for range 8 {
		makers.Go(func() {
			for i := range next {
				_, err := a.CoreV1().Pods("shop").Create(a.ctx, &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{
						Name: fmt.Sprint("many-", i), Labels: map[string]string{"app": "many", "pod-template-hash": "7c9f"},
						Annotations: map[string]string{"example/checksum": strings.Repeat("0", 64)},
					},
					Spec: corev1.PodSpec{NodeName: fmt.Sprint("n", i%100), ServiceAccountName: fmt.Sprint("account-", i%40), Containers: []corev1.Container{
						{Name: "server", Image: "registry.example/checkout:1", Env: environment}, {Name: "sidecar", Image: "registry.example/sidecar:1", Env: environment},
					}},
				}, metav1.CreateOptions{})
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	makers.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func TestManyPods(t *testing.T) {
	c, a := cluster(t)
	manyPods(t, a, *many)
	before := heap()
	peak := make(chan uint64)
	ctx, stop := context.WithCancel(t.Context())
	go func() { // samples what the heap is at most, garbage included
		highest := uint64(0)
		for tick := time.NewTicker(time.Millisecond); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapInuse)
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				peak <- highest
				return
			}
		}
	}()
	s := &counting{}
	w, err := New(Config{Kubeconfig: c.Kubeconfig(), Node: "n1"}, s, s)
	if err != nil {
		t.Fatal(err)
	}
	running, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- w.Run(running) }()
	await(t, "sync", w.Synced)
	took := time.Since(began)
	stop()
	highest, after := <-peak, heap()
	t.Logf("%d pods: first sync took %s; the heap grew from %d KiB to %d KiB at most, and %d KiB after it", *many, took, before>>10, highest>>10, after>>10)
	if n := s.changes.Load(); n != int64(*many) || s.pods.Load() != int64(*many+98)/100 {
		t.Errorf("%d pods were told, %d of this node", n, s.pods.Load())
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}

	// The same from a server that cannot stream: in pages.
	s = &counting{}
	if w, err = New(Config{Kubeconfig: c.Kubeconfig(), Node: "n1"}, s, s); err != nil {
		t.Fatal(err)
	}
	f, pages := w.feeds[0], 0
	f.listing = newUnderway()
	p := pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (kuberuntime.Object, error) {
		pages++
		return f.list(t.Context(), o)
	}))
	p.PageSize = 100
	list, _, err := p.ListWithAlloc(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var items []any
	if err := meta.EachListItem(list, func(o kuberuntime.Object) error { items = append(items, o); return nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.Replace(items, "")
	}
	if n := s.changes.Load(); n != 2*int64(*many) || pages != (*many+99)/100 || s.deleted.Load() != 0 {
		t.Errorf("%d pods in %d pages, %d deleted", n, pages, s.deleted.Load())
	}
	if f.Replace(items[10:], ""); s.deleted.Load() != 10 {
		t.Errorf("%d are gone, want 10", s.deleted.Load())
	}
	w.api.close()
}
