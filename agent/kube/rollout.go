package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rolloutEvery is how often a DaemonSet is asked for: a watch would take a right more.
const rolloutEvery = time.Second

// Rollout waits until a DaemonSet has a pod that is ready on each node where it is to run. It tells in a line when that changes, or why nothing is known. What fails
// is tried again until ctx ends, also what is refused: rights that were just given are not in force everywhere at once. It needs the right to get this one object.
func Rollout(ctx context.Context, cfg Config, namespace, name string, tell func(line string)) error {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "ambit-agent"
	}
	quietClient()
	a, err := newAPI(cfg)
	if err != nil {
		return err
	}
	defer a.close()
	again := time.NewTicker(rolloutEvery)
	defer again.Stop()
	told, last := "", fmt.Errorf("the API server at %s has not answered", a.host)
	for {
		ready, desired, err := a.rollout(ctx, namespace, name)
		line := fmt.Sprintf("%d of %d nodes are done", ready, desired)
		switch {
		case ctx.Err() != nil: // it says nothing about the API server
			return fmt.Errorf("wait for DaemonSet %s/%s: %w", namespace, name, last)
		case err != nil:
			line, last = err.Error(), err
		default:
			last = errors.New(line)
		}
		if line != told {
			told = line
			tell(line)
		}
		if err == nil && ready >= desired {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// rollout asks once on how many nodes a DaemonSet is ready.
func (a *api) rollout(ctx context.Context, namespace, name string) (ready, desired int, err error) {
	var d struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			ObservedGeneration                  int64
			DesiredNumberScheduled, NumberReady int
		}
	}
	path := "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/daemonsets/" + url.PathEscape(name)
	text, err := a.core.Get().AbsPath(path).SetHeader("Accept", "application/json").MaxRetries(0).DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	switch s := d.Status; {
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		return 0, 0, fmt.Errorf("the API server says %s: %w", apierrors.ReasonForError(err), err)
	case err != nil:
		return 0, 0, fmt.Errorf("ask for it: %w", short(err))
	case s.ObservedGeneration < d.Metadata.Generation:
		return 0, 0, errors.New("no controller has looked at it")
	default:
		return s.NumberReady, s.DesiredNumberScheduled, nil
	}
}
