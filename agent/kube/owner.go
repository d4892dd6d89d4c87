package kube

import (
	"context"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// controller is what made a pod, where that may itself have been made by something that lasts longer.
type controller struct {
	uid, namespace, name string
	resource             schema.GroupVersionResource
	kind                 string
	guess                string // the owner as the names tell
}

// key tells controllers apart. Who makes a pod may name any uid as its controller's: what one pod says of it must not be taken for what it is.
func (c *controller) key() string { return c.kind + "/" + c.namespace + "/" + c.name + "/" + c.uid }

var (
	replicaSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	jobs        = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
)

// ownerOf reads the root controller from a pod, as Kind/name. Where it takes a question to know it for sure, the controller is given too.
func ownerOf(m *metav1.ObjectMeta) (string, *controller) {
	ref := metav1.GetControllerOfNoCopy(m)
	if ref == nil {
		return "", nil
	}
	owner := ref.Kind + "/" + ref.Name
	c := &controller{uid: string(ref.UID), namespace: m.Namespace, name: ref.Name, kind: ref.Kind, guess: owner}
	switch {
	case ref.Kind == "ReplicaSet" && strings.HasPrefix(ref.APIVersion, "apps/"):
		c.resource = replicaSets
		if name, ok := strings.CutSuffix(ref.Name, "-"+m.Labels["pod-template-hash"]); ok && m.Labels["pod-template-hash"] != "" {
			c.guess = "Deployment/" + name
		}
	case ref.Kind == "Job" && strings.HasPrefix(ref.APIVersion, "batch/"):
		c.resource = jobs
		if name, ok := cronJobOf(ref.Name); ok {
			c.guess = "CronJob/" + name
		}
	default:
		return owner, nil
	}
	return c.guess, c
}

// cronJobOf undoes how a CronJob names its jobs: by the minutes since 1970, which have had 8 digits since 1989.
func cronJobOf(job string) (string, bool) {
	i := strings.LastIndexByte(job, '-')
	if i < 1 || len(job)-i-1 != 8 || strings.Trim(job[i+1:], "0123456789") != "" {
		return "", false
	}
	return job[:i], true
}

// owners knows what made replica sets and jobs. It asks for each once, for pods of this node only.
type owners struct {
	api    *api
	status *status
	asks   chan *controller

	mu    sync.Mutex
	known *lru.Cache[string, string] // owner by key of a controller; a guess while it is asked for
}

const (
	maxOwners     = 4096
	maxOwnerAsks  = 1024 // that wait; more stay guesses
	ownerRetry    = 5 * time.Second
	ownerAttempts = 60 // at ownerRetry, for an API server that is away
)

func newOwners(a *api, s *status) *owners {
	return &owners{api: a, status: s, asks: make(chan *controller, maxOwnerAsks), known: lru.New[string, string](maxOwners)}
}

// of gives the owner as far as it is known, and sees to it that it will be.
func (o *owners) of(c *controller) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if owner := o.known.Get(c.key()); owner != nil {
		return *owner
	}
	select {
	case o.asks <- c:
		o.known.Put(c.key(), c.guess)
	default:
		o.status.ownerUnknown()
	}
	return c.guess
}

// run asks until ctx ends, and tells pods where the guess was wrong.
func (o *owners) run(ctx context.Context, pods *nodePods) error {
	for {
		select {
		case c := <-o.asks:
			owner, ok := o.ask(ctx, c)
			if !ok {
				if ctx.Err() == nil {
					o.status.ownerUnknown()
				}
				continue
			}
			o.mu.Lock()
			o.known.Put(c.key(), owner)
			o.mu.Unlock()
			if owner != c.guess {
				pods.owner(c.key(), owner)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// ask gets the metadata of a controller. One that is gone, or must not be seen, stays a guess.
func (o *owners) ask(ctx context.Context, c *controller) (string, bool) {
	r := right{"get", c.resource.Group, c.resource.Resource}
	for range ownerAttempts {
		m, err := o.api.metadata.Resource(c.resource).Namespace(c.namespace).Get(ctx, c.name, metav1.GetOptions{})
		switch {
		case ctx.Err() != nil:
			return "", false
		case err == nil && string(m.UID) != c.uid: // made anew by the same name
			return "", false
		case err == nil:
			if ref := metav1.GetControllerOfNoCopy(&m.ObjectMeta); ref != nil {
				return ref.Kind + "/" + ref.Name, true
			}
			return c.kind + "/" + c.name, true
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
			if apierrors.IsForbidden(err) {
				rights := rights{status: o.status}
				rights.note(r, false)
			}
			return "", false
		}
		select {
		case <-time.After(ownerRetry):
		case <-ctx.Done():
			return "", false
		}
	}
	return "", false
}
