package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// checkAddress refuses what cannot be listened on. Empty is none.
func checkAddress(key, address string) error {
	if address == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("%s: %q is not <host>:<port>, for example 127.0.0.1:6060", key, address)
	}
	return nil
}

// checkLoopback also refuses an address that other machines could reach.
func checkLoopback(key, address, why string) error {
	if err := checkAddress(key, address); err != nil || address == "" {
		return err
	}
	if host, port, _ := net.SplitHostPort(address); !isLoopback(host) {
		return fmt.Errorf("%s: %s is not a loopback address, and %s: use 127.0.0.1:%s", key, address, why, port)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// profiles are Go's.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) { // it may hold what others should not see
		http.Error(w, "not told", http.StatusNotFound)
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// startPprof serves profiles, if an address is configured.
func (u *up) startPprof(ctx context.Context) error {
	if u.config.Pprof == "" {
		return nil
	}
	return u.startServer(ctx, "pprof", u.config.Pprof, local(profiles()))
}

// startServer serves handler at address.
func (u *up) startServer(ctx context.Context, key, address string, handler http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s: listen on %s: %w; choose another address", key, address, errors.Unwrap(err))
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 5 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(u.log.Handler(), slog.LevelDebug)}
	return u.parts.start(ctx, key, func(ctx context.Context, ready func(string)) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: serve on %s: %w", key, address, err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			return server.Close() // whoever takes a profile can wait no longer than we
		})
		ready("on " + l.Addr().String())
		return g.Wait()
	})
}

// local keeps out web pages in a local browser, whose names resolve to this machine.
func local(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) || origins.Check(r) != nil {
			http.Error(w, "this is for this machine alone; use 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
