package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkTime bounds a [Check].
const checkTime = 10 * time.Second

// Check asks the API once whether a [Watcher] would have what it needs: an answer, all rights, and a node by its name. Its error is one line.
func Check(ctx context.Context, cfg Config) error {
	w, err := New(cfg, nil, nil)
	if err != nil {
		return err
	}
	defer w.api.close()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if _, err := w.rights.check(ctx); err != nil && !apierrors.IsForbidden(err) {
		return w.noAnswer(err)
	}
	var denied []string
	for _, r := range needed {
		if w.status.denied[r] {
			denied = append(denied, r.verb+" "+r.object())
		}
	}
	if len(denied) > 0 {
		return fmt.Errorf("the agent's service account may not %s in the Kubernetes API at %s; apply deploy/rbac/agent.yaml", strings.Join(denied, ", "), w.api.host)
	}
	return w.checkNode(ctx)
}

func (w *Watcher) noAnswer(err error) error {
	if apierrors.IsUnauthorized(err) {
		return fmt.Errorf("the Kubernetes API at %s does not accept the agent's credentials", w.api.host)
	}
	said := strings.Join(strings.Fields(short(err).Error()), " ")
	return fmt.Errorf("the Kubernetes API at %s cannot be asked: %s; set kubernetes.mode to off to do without", w.api.host, said)
}

// checkNode finds the node in a list: to get it would take a right that is not needed otherwise.
func (w *Watcher) checkNode(ctx context.Context) error {
	var nodes corev1.NodeList
	options := metav1.ListOptions{FieldSelector: "metadata.name=" + w.cfg.Node}
	err := w.api.core.Get().Resource("nodes").VersionedParams(&options, w.api.parameters).MaxRetries(0).Do(ctx).Into(&nodes)
	switch {
	case err != nil:
		return w.noAnswer(err)
	case len(nodes.Items) == 0:
		return errors.New(w.status.nodeMissing())
	}
	return nil
}
