package kube

import (
	"fmt"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// api is the API server's side. Only the few groups that are needed are known: the complete client would double the agent.
type api struct {
	host       string // URL
	http       *http.Client
	core       rest.Interface
	discovery  rest.Interface
	access     rest.Interface
	metadata   metadata.Interface
	parameters runtime.ParameterCodec
}

func newAPI(cfg Config) (*api, error) {
	config, err := readConfig(cfg.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = cfg.UserAgent
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.RateLimiter = limiter()
	config.WarningHandler = rest.NoWarnings{}

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("make Kubernetes client: %w", err)
		}
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	a := &api{host: config.Host, parameters: runtime.NewParameterCodec(scheme)}
	if a.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	group := func(gv schema.GroupVersion, path string) rest.Interface {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &gv, path
		client, e := rest.RESTClientForConfigAndClient(c, a.http)
		if e != nil && err == nil {
			err = e
		}
		return client
	}
	a.core = group(corev1.SchemeGroupVersion, "/api")
	a.discovery = group(discoveryv1.SchemeGroupVersion, "/apis")
	a.access = group(authorizationv1.SchemeGroupVersion, "/apis")
	if err == nil {
		a.metadata, err = metadata.NewForConfigAndClient(config, a.http)
	}
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return a, nil
}

// readConfig reads a kubeconfig, or what Kubernetes gives every pod. Tokens that are files are read anew when they change.
func readConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the pod's Kubernetes service account: %w; outside of a cluster, name a kubeconfig", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}

func (a *api) close() { closeIdle(a.http) }
