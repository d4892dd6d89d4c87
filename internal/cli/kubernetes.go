package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/event"
)

// inCluster is where Kubernetes gives a pod its service account's token.
const inCluster = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// kubernetesWanted says whether the Kubernetes API is to be asked: always or never if the configuration says so, else where a kubeconfig is named or this
// runs in a pod.
func (c *config) kubernetesWanted() bool {
	switch c.Kubernetes.Mode {
	case "on":
		return true
	case "off":
		return false
	}
	if c.Kubernetes.Kubeconfig != "" {
		return true
	}
	_, err := os.Stat(inCluster)
	return err == nil && os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// kubernetesNode is this node's name in the API.
func (c *config) kubernetesNode() string {
	if c.Kubernetes.Node != "" {
		return c.Kubernetes.Node
	}
	return c.Node
}

// checkKubernetes asks the API whether the agent would have what it needs. A start does not: an API that is away is waited for.
func (c *config) checkKubernetes(ctx context.Context) error {
	if !c.kubernetesWanted() {
		return nil
	}
	return kube.Check(ctx, kube.Config{Kubeconfig: c.Kubernetes.Kubeconfig, Node: c.kubernetesNode()})
}

// identityTemplate is validated.
func (c *config) identityTemplate() event.IdentityTemplate {
	t, _ := event.ParseIdentityTemplate(c.Kubernetes.Identity)
	return t
}

// stateFolder is the agent's in the data folder.
const stateFolder = "agent"

// stateDir makes the folder of what the agent keeps over restarts.
func (c *config) stateDir() (string, error) {
	dir := filepath.Join(c.Data, stateFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the agent's folder: %w; --data names another place", err)
	}
	return dir, nil
}
