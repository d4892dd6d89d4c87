package api

import (
	"fmt"
	"net"
	"net/http"
)

// CheckListen refuses addresses that other machines could reach, unless the port is secured: by TLS, with which who shows nothing may do nothing.
func CheckListen(address string, secured bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("listen address %q is not <host>:<port>, for example 127.0.0.1:8480", address)
	}
	if !secured && !loopback(host) {
		return fmt.Errorf("listen address %s is not a loopback address: others could read what the API tells; set api.tls.cert and api.tls.key, or api.tls.spiffe, or use 127.0.0.1:%s", address, port)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// guard keeps web pages in a local browser out: a name of theirs that resolves to this machine is no name of ours (DNS rebinding), and
// requests from other origins are refused.
func (s *Server) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection() // lets GET pass: without CORS headers, pages cannot read the answers
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		} else if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
		if !s.Exposed && !loopback(host) {
			s.writeError(w, r, problem(http.StatusMisdirectedRequest, "host %q is not a loopback name; use 127.0.0.1 or localhost", r.Host))
			return
		}
		if err := origins.Check(r); err != nil {
			s.writeError(w, r, problem(http.StatusForbidden, "the request comes from another site"))
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
