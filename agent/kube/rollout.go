package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rolloutEvery is how often a DaemonSet is asked for: a watch would take a right more.
const rolloutEvery = time.Second

// Rollout waits until a DaemonSet has a pod that is ready on each node where it is to run. It tells when the numbers change. What fails is tried again, unless it
// is refused, until ctx ends. It needs the right to get this one object.
func Rollout(ctx context.Context, cfg Config, namespace, name string, tell func(ready, desired int)) error {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "ambit-agent"
	}
	quietClient()
	a, err := newAPI(cfg)
	if err != nil {
		return err
	}
	defer a.close()
	path := "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/daemonsets/" + url.PathEscape(name)
	ready, desired, last := -1, -1, fmt.Errorf("the API server at %s has not answered", a.host)
	for again := time.NewTicker(rolloutEvery); ; {
		var d struct {
			Metadata struct{ Generation int64 }
			Status   struct {
				ObservedGeneration                  int64
				DesiredNumberScheduled, NumberReady int
			}
		}
		text, err := a.core.Get().AbsPath(path).SetHeader("Accept", "application/json").MaxRetries(0).DoRaw(ctx)
		if err == nil {
			err = json.Unmarshal(text, &d)
		}
		switch s := d.Status; {
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err):
			again.Stop()
			return fmt.Errorf("ask for DaemonSet %s/%s: %w", namespace, name, err)
		case err != nil:
			if ctx.Err() == nil {
				last = short(err)
			}
		case s.ObservedGeneration < d.Metadata.Generation:
			last = fmt.Errorf("no controller has looked at it")
		default:
			if s.NumberReady != ready || s.DesiredNumberScheduled != desired {
				ready, desired = s.NumberReady, s.DesiredNumberScheduled
				tell(ready, desired)
			}
			if ready >= desired {
				again.Stop()
				return nil
			}
			last = fmt.Errorf("%d of %d nodes are ready", ready, desired)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return fmt.Errorf("wait for DaemonSet %s/%s: %w", namespace, name, last)
		}
	}
}
