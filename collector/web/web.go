package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Role is what somebody may do, in the order of the API's roles. Each may all that the ones before it may.
type Role uint8

// The roles, the least first.
const (
	Nobody    Role = iota
	Reader         // the API's viewer
	Responder      // decides about findings
	Admin          // everything
)

// Viewer is who looks at a page.
type Viewer struct {
	Name      string
	Role      Role
	Anonymous bool // shows nothing, and may still read: on loopback
}

// May says whether a button is worth showing. The API refuses anyhow.
func (v Viewer) May(role Role) bool { return !v.Anonymous && v.Role >= role }

// Responds says whether the viewer may decide about findings.
func (v Viewer) Responds() bool { return v.May(Responder) }

// Administers says whether the viewer may do everything.
func (v Viewer) Administers() bool { return v.May(Admin) }

// Gate knows who sends a request; the API's server does. Errors have a method StatusCode.
type Gate interface {
	// Who judges a request by its session, certificate or token, and counts it.
	Who(r *http.Request) (Viewer, error)
	// Judge says whose a token is that somebody wants to log in with.
	Judge(r *http.Request, token string) (Viewer, error)
	// Login counts a login that a provider is asked about against the address that sends it.
	Login(r *http.Request) error
}

// Reports answers what the store knows; [report.Reporter] does.
type Reports interface {
	Directory
	Standing
	Overview(ctx context.Context, now time.Time, window time.Duration) (*report.Overview, error)
	Metrics(ctx context.Context, now time.Time, window time.Duration) (*report.List[report.Metric], error)
	Coverage(ctx context.Context, now time.Time, window time.Duration, paging report.Paging) (*report.List[report.NodeCoverage], error)
	Findings(ctx context.Context, filter store.FindingFilter) (*report.List[event.Finding], error)
	CountFindings(ctx context.Context, filter store.FindingFilter) (*store.FindingCounts, error)
	Story(ctx context.Context, id string, now time.Time) (*report.Story, error)
}

// Config is what the pages stand on. All fields are required, but OIDC and Ended.
type Config struct {
	Reports Reports
	Gate    Gate
	API     http.Handler  // asked in the viewer's name for all that pages change
	Key     []byte        // of 32 bytes, from which sessions are sealed; the same for all collectors
	Secured bool          // served with TLS
	HSTS    time.Duration // for how long browsers are told to use TLS with this host, on all its ports; 0: they are not told
	OIDC    Provider      // nil: no login by an OpenID provider
	Ended   *Ended        // sessions that were logged out; nil: here alone
	Deny    DenyRoles     // who is shown what about decisions
	Version string
	Logger  *slog.Logger
}

// Site serves pages. It is safe for concurrent use.
type Site struct {
	Config
	log     *slog.Logger
	seal    sealer
	assets  *assets
	pages   map[string]*template.Template
	mux     *http.ServeMux
	now     func() time.Time
	handler http.Handler
}

// New makes a site.
func New(cfg Config) (*Site, error) {
	seal, err := newSealer(cfg.Key)
	if err != nil {
		return nil, err
	}
	assets, err := openAssets()
	if err != nil {
		return nil, err
	}
	if cfg.Ended == nil {
		cfg.Ended = NewEnded()
	}
	s := &Site{Config: cfg, log: cfg.Logger, seal: seal, assets: assets, mux: http.NewServeMux(), now: time.Now}
	if s.pages, err = s.parse(); err != nil {
		return nil, fmt.Errorf("read the pages' templates: %w", err)
	}
	s.routes()
	s.handler = s.secure(s.mux)
	return s, nil
}

// routes says where what is. Each page has a file of its own.
func (s *Site) routes() {
	s.mux.Handle("GET /assets/", s.assets)
	s.loginPages()
	s.overviewPages()
	s.coveragePages()
	s.identityPages()
	s.mapPages()
	s.reportPages()
	s.findingPages()
	s.decisionPages()
	s.auditPages()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, Viewer{}, faultf(http.StatusNotFound, "There is no page at %s.", r.URL.Path))
	})
}

// ServeHTTP implements [http.Handler].
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// page serves what show gives, by templates/<name>.html, to who has a role. The pattern is that of [http.ServeMux], without a method.
func (s *Site) page(name, pattern string, role Role, show func(r *http.Request, who Viewer) (view any, err error)) {
	if s.pages[name] == nil {
		panic("there is no template of the page " + name)
	}
	s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		who, ok := s.admit(w, r, role)
		if !ok {
			return
		}
		view, err := show(r, who)
		if err != nil {
			s.fail(w, r, who, err)
			return
		}
		if f, ok := view.(*File); ok {
			s.send(w, r, f)
			return
		}
		s.render(w, r, http.StatusOK, name, who, view)
	})
}

// action does what a form that was sent asks for, and sends its sender to a page. Only who has a role, and came from one of our pages, is heard.
func (s *Site) action(pattern string, role Role, do func(r *http.Request, who Viewer) (location string, err error)) {
	s.actionOrPage("", pattern, role, func(r *http.Request, who Viewer) (string, any, error) {
		location, err := do(r, who)
		return location, nil, err
	})
}

// actionOrPage is an action that may answer by a page, templates/<name>.html, which tells what no address can: do gives a view in place of a location.
func (s *Site) actionOrPage(name, pattern string, role Role, do func(r *http.Request, who Viewer) (location string, view any, err error)) {
	if name != "" && s.pages[name] == nil {
		panic("there is no template of the page " + name)
	}
	s.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		who, ok := s.admit(w, r, role)
		if !ok {
			return
		}
		if err := s.intended(r); err != nil {
			s.fail(w, r, who, err)
			return
		}
		if !who.May(role) {
			s.toLogin(w, r)
			return
		}
		location, view, err := do(r, who)
		switch {
		case err != nil:
			s.fail(w, r, who, err)
		case view != nil:
			s.render(w, r, http.StatusOK, name, who, view)
		default:
			http.Redirect(w, r, local(location), http.StatusSeeOther)
		}
	})
}

// maxForm bounds what a form sends, in bytes.
const maxForm = 256 << 10

// admit knows who sends a request and whether that is enough. It answers itself where it is not.
func (s *Site) admit(w http.ResponseWriter, r *http.Request, role Role) (Viewer, bool) {
	if _, shown := s.cookie(r, sessionCookie); !shown && s.bounce(w, r) {
		return Viewer{}, false
	}
	who, err := s.Gate.Who(r)
	if status(err) == http.StatusUnauthorized {
		if _, shown := s.cookie(r, sessionCookie); shown { // what it held is not good any more
			s.forget(w, sessionCookie)
		}
		s.toLogin(w, r)
		return who, false
	}
	if err != nil {
		s.fail(w, r, Viewer{}, err)
		return who, false
	}
	if who.Role >= role {
		return who, true
	}
	if who.Anonymous || who.Role == Nobody {
		s.toLogin(w, r)
		return who, false
	}
	s.fail(w, r, who, faultf(http.StatusForbidden, "This needs a role that %s has not.", who.Name))
	return who, false
}

// bounce has the browser ask once more from a page of ours: it keeps the session's cookie to itself when a link on another site leads here. It
// says whether it answered.
func (s *Site) bounce(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Site") != "cross-site" || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return false
	}
	s.render(w, r, http.StatusOK, "bounce", Viewer{}, local(r.URL.RequestURI()))
	return true
}

// toLogin sends a browser to log in, and from there back.
func (s *Site) toLogin(w http.ResponseWriter, r *http.Request) {
	next := r.URL.RequestURI()
	if r.Method != http.MethodGet {
		next = r.URL.Path
	}
	http.Redirect(w, r, "/login?next="+url.QueryEscape(local(next)), http.StatusSeeOther)
}

// local is a path of this site, whatever somebody wrote into it.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// frame is what every template gets.
type frame struct {
	Page    string // name of the template
	Path    string
	Who     Viewer
	CSRF    string
	Version string
	Request string
	Built   bool // the assets are there
	Search  string
	View    any
}

func (s *Site) render(w http.ResponseWriter, r *http.Request, code int, name string, who Viewer, view any) {
	var b strings.Builder
	f := frame{Page: name, Path: r.URL.Path, Who: who, CSRF: s.CSRF(r), Version: s.Version, Request: w.Header().Get("X-Request-Id"), Built: s.assets.built, Search: r.URL.Query().Get("q"), View: view}
	if err := s.pages[name].ExecuteTemplate(&b, "layout", f); err != nil {
		s.log.Error("render a page", "page", name, "request", f.Request, "error", err)
		http.Error(w, "the page could not be made; the collector's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(b.String())) // a client that went away is no error
	}
}

var errNoKey = errors.New("the key of sessions is not 32 bytes long")
