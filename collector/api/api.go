package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// Reports answers what the store knows; [report.Reporter] does.
type Reports interface {
	Stories
	Identities(ctx context.Context, filter store.IdentityFilter, state string, declared inventory.State) (*report.List[report.Identity], error)
	Identity(ctx context.Context, id event.Identity) (*report.Identity, error)
	Reach(ctx context.Context, id event.Identity, filter store.ReachFilter) (*report.List[report.Reach], error)
	Findings(ctx context.Context, filter store.FindingFilter) (*report.List[event.Finding], error)
	Finding(ctx context.Context, id string) (*event.Finding, error)
	Unused(ctx context.Context, now time.Time, q report.UnusedQuery) (*report.UnusedReport, error)
	HighRisk(ctx context.Context, now time.Time, q report.RiskQuery) (*report.RiskReport, error)
	Overview(ctx context.Context, now time.Time, window time.Duration) (*report.Overview, error)
	Metrics(ctx context.Context, now time.Time, window time.Duration) (*report.List[report.Metric], error)
	Groups(ctx context.Context, now time.Time, window time.Duration, by string, paging report.Paging) (*report.List[report.Group], error)
	Ownership(ctx context.Context, now time.Time, window time.Duration, paging report.Paging) (*report.List[report.Lacking], error)
	Reviews(ctx context.Context, now time.Time, window time.Duration, state string, paging report.Paging) (*report.ReviewReport, error)
	ReviewsOf(ctx context.Context, id event.Identity) (*report.List[store.Review], error)
	Exemptions(ctx context.Context, now time.Time, paging report.Paging) (*report.List[store.Exemption], error)
	Exemption(ctx context.Context, id event.Identity, now time.Time) (store.Exemption, error)
	BlastRadius(ctx context.Context, id event.Identity, now time.Time, q report.GraphQuery) (*report.Graph, error)
	WhoCanReach(ctx context.Context, target string, now time.Time, q report.GraphQuery) (*report.Graph, error)
	Coverage(ctx context.Context, now time.Time, window time.Duration, paging report.Paging) (*report.List[report.NodeCoverage], error)
	Directory(ctx context.Context, now time.Time, q report.DirectoryQuery) (*report.Directory, error)
	Activity(ctx context.Context, id event.Identity, now time.Time, window time.Duration) (*report.Activity, error)
	Map(ctx context.Context, now time.Time, q report.MapQuery) (*report.Map, error)
	Inventory(ctx context.Context, filter store.InventoryFilter, domain event.Domain) (*report.List[event.Declaration], error)
}

// Inventory takes what a source declares; [store.Store] does.
type Inventory interface {
	ReplaceInventory(ctx context.Context, told store.Inventory) (store.InventoryChange, error)
}

// Triage takes what people decide about findings; [triage.Desk] does. It writes the audit trail.
type Triage interface {
	Decide(ctx context.Context, id string, kind event.VerdictKind, reason, by string, until time.Time) (event.Finding, error)
}

// Live is what the running collector knows.
type Live interface {
	// Progress says how far the learning of an identity is.
	Progress(id event.Identity) (detector.Progress, bool)
	// Follow calls tell with each finding, as JSON, behind the sequence after (0: with new ones only), until ctx ends or tell fails. Before
	// the first one it calls tell with no finding, when none can be missed any more.
	Follow(ctx context.Context, after uint64, tell func(sequence uint64, finding []byte) error) error
	// Health says of each thing that observations need how it is.
	Health(ctx context.Context) []health.Check
}

// Trail keeps who did what; [audit.Log] does.
type Trail interface {
	Append(ctx context.Context, actor, action, subject string, detail map[string]string) (audit.Record, error)
}

// Config is what the server stands on. All fields are required, but those of authentication.
type Config struct {
	Reports   Reports
	Triage    Triage
	Inventory Inventory
	Standing  Standing
	Live      Live
	Decisions Decisions
	Metrics   prometheus.Gatherer
	Scopes    Scopes // they also answer whether an access is allowed; nil: only decisions do
	Trails    Trails
	Audit     Trail  // what cannot be written there is not done
	Token     string // of the data folder: who shows it is an admin; empty: nobody is by it

	Authenticators []Authenticator // asked in order
	Anonymous      Role            // what who shows nothing may do
	Exposed        bool            // it listens with TLS, so that requests may name any host
	Rate           float64         // requests of a principal per second; 0 is DefaultRate

	DecisionRoles DecisionRoles // who may deny
	Feeds         Feeds         // where findings are sent

	Pages    http.Handler // what is served where the API has nothing; nil: nothing
	Sessions Sessions     // what browsers show in place of a token; nil: nothing

	Logger *slog.Logger
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	Config
	log     *slog.Logger
	handler http.Handler
	metrics http.Handler
	limits  *limits
	streams chan struct{} // tokens of open event streams
	now     func() time.Time

	verifying chan struct{} // of one
}

// maxStreams bounds the event streams that are open at a time.
const maxStreams = 64

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, log: cfg.Logger, streams: make(chan struct{}, maxStreams), limits: newLimits(), now: time.Now, verifying: make(chan struct{}, 1)}
	s.metrics = promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})
	s.handler = named(s.guard(compressed(bounded(s.routes()))))
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Listen opens an address that [CheckListen] accepts.
func Listen(address string, secured bool) (net.Listener, error) {
	if err := CheckListen(address, secured); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", address, rootCause(err))
	}
	return l, nil
}

// rootCause leaves out what the sentence around it says.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		var sys interface{ Unwrap() error }
		if errors.As(op.Err, &sys) && sys.Unwrap() != nil {
			return sys.Unwrap()
		}
		return op.Err
	}
	return err
}

// Run serves on l, which it closes, until ctx ends; then open requests have a few seconds, event streams none.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second, // event streams set their own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}
