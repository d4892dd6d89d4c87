package kube

import (
	"context"
	"log/slog"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// right is something that the agent's service account must be allowed to do in the whole cluster.
type right struct{ verb, group, resource string }

// needed are all rights that the agent needs: deploy/rbac/agent.yaml gives these, and no others.
var needed = []right{
	{"list", "", "pods"}, {"watch", "", "pods"},
	{"list", "", "services"}, {"watch", "", "services"},
	{"list", "discovery.k8s.io", "endpointslices"}, {"watch", "discovery.k8s.io", "endpointslices"},
	{"list", "", "nodes"}, {"watch", "", "nodes"},
	{"get", "apps", "replicasets"},
	{"get", "batch", "jobs"},
}

func (r right) object() string {
	if r.group == "" {
		return r.resource
	}
	return r.resource + "." + r.group
}

func (r right) missing() string {
	what := r.resource
	if r.verb == "get" {
		what = "owners of pods"
	}
	return what + ": the agent's service account may not " + r.verb + " " + r.object() + " in the Kubernetes API; apply deploy/rbac/agent.yaml"
}

// rights finds out what is missing: by what is refused, and by asking, since a right may be missing that was not needed yet.
type rights struct {
	api    *api
	status *status
	doubt  chan struct{} // holds one if something was refused
}

const (
	rightsEvery = time.Minute // while some are missing
	rightsRetry = 10 * time.Second
)

func newRights(a *api, s *status) *rights {
	return &rights{api: a, status: s, doubt: make(chan struct{}, 1)}
}

// asked notes whether something was refused.
func (r *rights) asked(what right, err error) {
	switch {
	case err == nil:
		r.note(what, true)
	case apierrors.IsForbidden(err):
		r.note(what, false)
		select {
		case r.doubt <- struct{}{}:
		default:
		}
	}
}

func (r *rights) note(what right, allowed bool) {
	s := r.status
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case allowed:
		delete(s.denied, what)
	case !s.denied[what]:
		s.denied[what] = true
		slog.Warn("a right is missing in the Kubernetes API; apply deploy/rbac/agent.yaml", "verb", what.verb, "resource", what.object())
	}
}

func (r *rights) run(ctx context.Context) error {
	for {
		wait := rightsEvery
		some, err := r.check(ctx)
		if err != nil {
			wait = rightsRetry
		}
		var again <-chan time.Time
		if some || err != nil && !apierrors.IsForbidden(err) {
			again = time.After(wait)
		}
		select {
		case <-again:
			continue
		case <-r.doubt:
		case <-ctx.Done():
			return nil
		}
		select { // what was refused once is refused again and again
		case <-time.After(rightsRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// check asks for each right whether it is given. It needs no right itself, unless somebody took even that from all.
func (r *rights) check(ctx context.Context) (missing bool, err error) {
	for _, n := range needed {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: n.verb, Group: n.group, Resource: n.resource},
		}}
		if err := r.api.access.Post().Resource("selfsubjectaccessreviews").Body(review).Do(ctx).Into(review); err != nil {
			return missing, err
		}
		r.note(n, review.Status.Allowed)
		missing = missing || !review.Status.Allowed
	}
	return missing, nil
}
