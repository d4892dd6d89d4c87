package kube

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
)

// api is the API server's side. Only the two groups that are needed are known: the complete client is large.
type api struct {
	http       *http.Client
	core, rbac rest.Interface
	metadata   metadata.Interface
	parameters runtime.ParameterCodec
}

func newAPI(cfg *Config) (*api, error) {
	config, err := readConfig(cfg.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "ambit-collector"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(10, 20) // a few lists and watches; it bounds what a fault can do
	config.WarningHandler = rest.NoWarnings{}
	if cfg.wrap != nil {
		cfg.wrap(config)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("make Kubernetes client: %w", err)
		}
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	a := &api{parameters: runtime.NewParameterCodec(scheme)}
	if a.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	group := func(gv schema.GroupVersion, path string) rest.Interface {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &gv, path
		client, e := rest.RESTClientForConfigAndClient(c, a.http)
		if err == nil {
			err = e
		}
		return client
	}
	a.core, a.rbac = group(corev1.SchemeGroupVersion, "/api"), group(rbacv1.SchemeGroupVersion, "/apis")
	if err == nil {
		a.metadata, err = metadata.NewForConfigAndClient(config, a.http)
	}
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return a, nil
}

// readConfig reads a kubeconfig, or what Kubernetes gives every pod.
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

func (a *api) close() { utilnet.CloseIdleConnectionsFor(a.http.Transport) }

// watched is a resource that is watched in all namespaces.
type watched struct {
	resource  string
	object    runtime.Object
	listWatch *cache.ListWatch
}

func (a *api) watched(legacyTokens bool) []watched {
	out := []watched{
		{"serviceaccounts", &corev1.ServiceAccount{}, a.listWatch(a.core, "serviceaccounts", &corev1.ServiceAccountList{})},
		{"roles", &rbacv1.Role{}, a.listWatch(a.rbac, "roles", &rbacv1.RoleList{})},
		{"clusterroles", &rbacv1.ClusterRole{}, a.listWatch(a.rbac, "clusterroles", &rbacv1.ClusterRoleList{})},
		{"rolebindings", &rbacv1.RoleBinding{}, a.listWatch(a.rbac, "rolebindings", &rbacv1.RoleBindingList{})},
		{"clusterrolebindings", &rbacv1.ClusterRoleBinding{}, a.listWatch(a.rbac, "clusterrolebindings", &rbacv1.ClusterRoleBindingList{})},
	}
	if !legacyTokens {
		return out
	}
	secrets := a.metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets"))
	of := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = "type=" + string(corev1.SecretTypeServiceAccountToken)
		return o
	}
	return append(out, watched{"secrets", &metav1.PartialObjectMetadata{}, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return secrets.List(ctx, of(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return secrets.Watch(ctx, of(o))
		},
	}})
}

func (a *api) listWatch(c rest.Interface, resource string, list runtime.Object) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			out := list.DeepCopyObject()
			return out, c.Get().Resource(resource).VersionedParams(&o, a.parameters).Do(ctx).Into(out)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			return c.Get().Resource(resource).VersionedParams(&o, a.parameters).Watch(ctx)
		},
	}
}
