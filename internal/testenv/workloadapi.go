package testenv

import (
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// WorkloadAPI is a server of the SPIFFE Workload API on a unix socket. It tells what it is given to everyone who asks, and each change of it. It
// is safe for concurrent use.
type WorkloadAPI struct {
	Socket string // as SPIFFE_ENDPOINT_SOCKET has it

	t    testing.TB
	path string

	mu     sync.Mutex
	server *grpc.Server // nil while it is away
	ended  chan struct{}
	answer *workload.X509SVIDResponse
	refuse error
	change chan struct{} // closed when answer or refuse change
}

// NewWorkloadAPI makes a server that is away, and has nothing to give yet. It ends with the test.
func NewWorkloadAPI(t testing.TB) *WorkloadAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "ambit") // a socket's path is short; the test's own folder may not be
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "api.sock")
	w := &WorkloadAPI{Socket: "unix://" + path, t: t, path: path, change: make(chan struct{})}
	t.Cleanup(func() {
		w.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove folder of the Workload API: %v", err)
		}
	})
	return w
}

// Start makes the server answer.
func (w *WorkloadAPI) Start() {
	w.t.Helper()
	l, err := net.Listen("unix", w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	s, ended := grpc.NewServer(), make(chan struct{})
	workload.RegisterSpiffeWorkloadAPIServer(s, workloadService{api: w})
	go func() {
		defer close(ended)
		if err := s.Serve(l); err != nil {
			w.t.Errorf("serve the Workload API: %v", err)
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server, w.ended = s, ended
}

// Stop ends it as a crash does: its streams break off.
func (w *WorkloadAPI) Stop() {
	w.mu.Lock()
	s, ended := w.server, w.ended
	w.server = nil
	w.mu.Unlock()
	if s != nil {
		s.Stop()
		<-ended
	}
}

// Give changes what is told: an SVID, the authorities of its trust domain, and those of federated ones, by name.
func (w *WorkloadAPI) Give(svid *Issued, bundle []*x509.Certificate, federated map[string][]*x509.Certificate) {
	w.t.Helper()
	id := ""
	if len(svid.Certificate.URIs) > 0 {
		id = svid.Certificate.URIs[0].String()
	}
	r := &workload.X509SVIDResponse{
		Svids:            []*workload.X509SVID{{SpiffeId: id, X509Svid: svid.Certificate.Raw, X509SvidKey: svid.keyDER(), Bundle: concatenate(bundle)}},
		FederatedBundles: map[string][]byte{},
	}
	for name, certs := range federated {
		r.FederatedBundles[name] = concatenate(certs)
	}
	w.GiveRaw(r)
}

// GiveRaw tells whatever that is.
func (w *WorkloadAPI) GiveRaw(r *workload.X509SVIDResponse) { w.set(r, nil) }

// Refuse answers with an error, as an agent does that knows no registration of the caller.
func (w *WorkloadAPI) Refuse(code codes.Code, text string) { w.set(nil, status.Error(code, text)) }

func (w *WorkloadAPI) set(r *workload.X509SVIDResponse, refuse error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.refuse = r, refuse
	close(w.change)
	w.change = make(chan struct{})
}

func concatenate(certs []*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, c.Raw...)
	}
	return out
}

// workloadService is what callers reach.
type workloadService struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	api *WorkloadAPI
}

// FetchX509SVID implements [workload.SpiffeWorkloadAPIServer].
func (s workloadService) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return serve(s.api, stream, func(r *workload.X509SVIDResponse) *workload.X509SVIDResponse { return r })
}

// FetchX509Bundles implements [workload.SpiffeWorkloadAPIServer].
func (s workloadService) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return serve(s.api, stream, func(r *workload.X509SVIDResponse) *workload.X509BundlesResponse {
		all := maps.Clone(r.FederatedBundles)
		if all == nil {
			all = map[string][]byte{}
		}
		for _, svid := range r.Svids {
			if u, err := url.Parse(svid.SpiffeId); err == nil {
				all["spiffe://"+u.Host] = svid.Bundle
			}
		}
		return &workload.X509BundlesResponse{Bundles: all}
	})
}

// serve sends what the answer is turned to, now and whenever it changes.
func serve[T any](api *WorkloadAPI, stream grpc.ServerStreamingServer[T], turn func(*workload.X509SVIDResponse) *T) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if h := md.Get("workload.spiffe.io"); len(h) != 1 || h[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		api.mu.Lock()
		answer, refuse, change := api.answer, api.refuse, api.change
		api.mu.Unlock()
		if refuse != nil {
			return refuse
		}
		if answer != nil {
			if err := stream.Send(turn(answer)); err != nil {
				return err
			}
		}
		select {
		case <-change:
		case <-stream.Context().Done():
			return errors.New("the caller is gone")
		}
	}
}
