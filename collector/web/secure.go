package web

import (
	"net/http"
	"strconv"
	"time"
)

// policy is what a page may load and do: what this program brings, and nothing else. No script or style stands in a page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secure sets what browsers are to keep from pages.
func (s *Site) secure(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()")
		h.Set("Cache-Control", "no-store")
		if s.Secured && s.HSTS > 0 { // it would hold for what else is served under the host's name, too
			h.Set("Strict-Transport-Security", "max-age="+strconv.FormatInt(int64(s.HSTS/time.Second), 10))
		}
		if err := origins.Check(r); err != nil {
			s.fail(w, r, Viewer{}, faultf(http.StatusForbidden, "The request comes from another site."))
			return
		}
		next.ServeHTTP(w, r)
	})
}
