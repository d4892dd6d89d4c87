package natsauth

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
)

// What a token's review tells of the pod that it is bound to.
const (
	extraPod  = "authentication.kubernetes.io/pod-name"
	extraNode = "authentication.kubernetes.io/node-name"
)

// Cluster reviews tokens with the Kubernetes API, which also looks whether the pod of a token still exists. It needs the right to create tokenreviews. It is safe
// for concurrent use.
type Cluster struct {
	api  rest.Interface
	stop func()
}

// NewCluster reads how to reach the API: a kubeconfig, or what Kubernetes gives each pod. It connects to nothing.
func NewCluster(kubeconfig string) (*Cluster, error) {
	config, err := rest.InClusterConfig()
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("read how to reach the Kubernetes API: %w; outside of a cluster, name a kubeconfig", err)
	}
	scheme := runtime.NewScheme()
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	config.UserAgent = "ambit-collector"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(200, 400) // when servers restart, all agents come at once
	config.WarningHandler = rest.NoWarnings{}
	config.GroupVersion, config.APIPath = &authenticationv1.SchemeGroupVersion, "/apis"
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	api, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return &Cluster{api: api, stop: func() { utilnet.CloseIdleConnectionsFor(client.Transport) }}, nil
}

// Close ends idle connections.
func (c *Cluster) Close() { c.stop() }

// Review implements [Reviewer].
func (c *Cluster) Review(ctx context.Context, token, audience string) (Claim, error) {
	asked := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	var said authenticationv1.TokenReview
	if err := c.api.Post().Resource("tokenreviews").VersionedParams(&metav1.CreateOptions{}, metav1.ParameterCodec).Body(asked).MaxRetries(0).Do(ctx).Into(&said); err != nil {
		return Claim{}, fmt.Errorf("ask the Kubernetes API about a token: %w", err)
	}
	switch s := said.Status; {
	case !s.Authenticated && s.Error != "":
		return Claim{}, fmt.Errorf("%w: %s", ErrRefused, s.Error)
	case !s.Authenticated:
		return Claim{}, ErrRefused
	case !slices.Contains(s.Audiences, audience): // an API server that knows nothing of audiences says yes to any
		return Claim{}, fmt.Errorf("%w: it is not for %s", ErrRefused, audience)
	}
	return Claim{User: said.Status.User.Username, Pod: first(said.Status.User.Extra[extraPod]), Node: first(said.Status.User.Extra[extraNode])}, nil
}

func first(values authenticationv1.ExtraValue) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
