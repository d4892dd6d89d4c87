package svid

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How long to wait before the Workload API is asked again: it is on this machine, and must not be overrun when it comes back.
const (
	shortestWait = 100 * time.Millisecond
	longestWait  = 5 * time.Second
)

// socketAddress is the address as go-spiffe wants it. A plain path is one too.
func socketAddress(text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		text = "unix://" + text
	}
	const example = "; use unix:///run/spire/agent-sockets/api.sock, or where your Workload API listens"
	if err := workloadapi.ValidateAddress(text); err != nil {
		return "", fmt.Errorf("%q is no address of a Workload API%s", clip(text), example)
	}
	if u, _ := url.Parse(text); u.Scheme == "tcp" { // validated
		if a, err := netip.ParseAddrPort(u.Host); err != nil || !a.Addr().Unmap().IsLoopback() {
			return "", fmt.Errorf("%s would carry the private key over the network%s", text, example)
		}
	}
	return text, nil
}

// watch takes updates of the Workload API until ctx ends.
func (s *Source) watch(ctx context.Context) error {
	address, err := socketAddress(s.cfg.Socket)
	if err != nil {
		return err
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(address), workloadapi.WithBackoffStrategy(waits{}),
		// gRPC has waits of its own, of up to two minutes.
		workloadapi.WithDialOptions(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: shortestWait, Multiplier: 2, Jitter: 0.2, MaxDelay: longestWait},
			MinConnectTimeout: longestWait,
		})))
	if err != nil {
		return fmt.Errorf("use the Workload API at %s: %w", s.cfg.Socket, err)
	}
	defer client.Close()
	for {
		_ = client.WatchX509Context(ctx, watcher{ctx, s}) // told to the watcher; it gives up where it thinks that asking again is of no use
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(longestWait):
		}
	}
}

// watcher implements [workloadapi.X509ContextWatcher].
type watcher struct {
	ctx    context.Context
	source *Source
}

// OnX509ContextUpdate takes what the Workload API gave, all of it in the place of what was there.
func (w watcher) OnX509ContextUpdate(x *workloadapi.X509Context) {
	own := x.DefaultSVID()
	cert := &tls.Certificate{PrivateKey: own.PrivateKey, Leaf: own.Certificates[0]}
	for _, c := range own.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	w.source.install(&material{own: cert, id: own.ID, bundles: x.Bundles})
}

// OnX509ContextWatchError tells an API that is away from one that gives nothing, and from one that cannot be understood.
func (w watcher) OnX509ContextWatchError(err error) {
	if err == nil || w.ctx.Err() != nil {
		return
	}
	st, ok := status.FromError(err)
	switch {
	case !ok:
		w.source.fail(unreadable, "sends what cannot be read", err)
	case st.Code() == codes.PermissionDenied:
		w.source.fail(apiRefused, "gives no SVID", fmt.Errorf("%s (is there a registration entry for this process?)", st.Message()))
	case st.Code() == codes.InvalidArgument, st.Code() == codes.Unimplemented:
		w.source.fail(apiRefused, "gives no SVID", errors.New(st.Message()))
	default:
		w.source.fail(apiAway, "away", errors.New(innermost(st.Message())))
	}
}

// innermost takes what the operating system said out of what gRPC wraps around it.
func innermost(text string) string {
	if _, quoted, ok := strings.Cut(text, "desc = "); ok {
		if inner, err := strconv.Unquote(quoted); err == nil {
			text = inner
		}
	}
	return strings.TrimPrefix(text, "transport: Error while dialing: ")
}

// waits implements [workloadapi.BackoffStrategy].
type waits struct{}

func (waits) NewBackoff() workloadapi.Backoff { return new(wait) }

// wait grows from the shortest to the longest.
type wait struct{ last time.Duration }

func (w *wait) Next() time.Duration {
	w.last = min(max(2*w.last, shortestWait), longestWait)
	return w.last
}

func (w *wait) Reset() { w.last = 0 }
