package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/engine"
	"github.com/ambit-nhi/ambit/collector/natsauth"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/triage"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/svid"
)

func newUpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Watch this machine: everything in one command",
		Long: `Watch this machine: agent, stream, engine, collector and API in one command.

It needs root, unless --no-agent is given, and stops in order on Ctrl-C.`,
		Args: noArgs,
	}
	addConfigFlags(cmd.Flags(), "data", "listen", "node", "trust_domain", "no_agent", "learn", "interval")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd.Flags())
		if err != nil {
			return err
		}
		return runUp(cmd, c)
	}
	return cmd
}

// runUp checks what can be checked before anything starts, starts the parts, and stops them when the command's context ends.
func runUp(cmd *cobra.Command, c *config) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	check, err := cmd.Flags().GetBool("check")
	if err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	log := c.logger(cmd.ErrOrStderr())
	slog.SetDefault(log) // the agent has no logger of its own
	if err := api.CheckListen(c.Listen, c.API.secured()); err != nil {
		return err
	}
	boundHeap()
	if !c.NoAgent {
		if err := agent.Preflight(); err != nil {
			return err
		}
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("find the data folder: %w", err)
	}
	bus, err := c.prepare()
	if err != nil {
		return err
	}
	if check && !c.NoAgent {
		if err := c.checkKubernetes(ctx); err != nil {
			return err
		}
	}
	lock, err := lockFolder(c.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	token, err := ensureToken(c.Data)
	if err != nil {
		return err
	}
	listener, err := api.Listen(c.Listen, c.API.secured())
	if err != nil {
		return err
	}
	defer listener.Close()

	bus.Logger = log
	u := newUp(c, log, newParts(out))
	u.token = token
	if err = u.startPprof(ctx); err == nil {
		err = u.startMetrics(ctx)
	}
	if err == nil {
		err = u.startCertificate(ctx, &bus, check)
	}
	if err == nil {
		err = u.start(ctx, bus, listener)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		err = nil // given up by request
	case err != nil:
	case check:
		fmt.Fprintln(out, "all of it works")
	default:
		fmt.Fprintf(out, "Ambit is up: %s://%s\n", c.API.scheme(), listener.Addr())
		fmt.Fprintf(out, "Its pages are there; to change something, log in with the token in %s, or one of `ambit token create`\n", filepath.Join(c.Data, tokenName))
		err = u.parts.wait(ctx)
		if ctx.Err() != nil {
			fmt.Fprintln(out, "stopping")
		}
	}
	return errors.Join(err, u.stop())
}

// boundHeap keeps the garbage of large inserts small. Go's own variable wins.
func boundHeap() {
	const limit = 320 << 20 // a soft limit: near it, garbage is collected more often
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}

// prepare checks what the parts will want, before anything starts.
func (c *config) prepare() (collector.BusConfig, error) {
	bus := collector.BusConfig{URLs: c.NATS.URLs, Dir: filepath.Join(c.Data, "nats"), MaxBytes: c.NATS.MaxBytes, MaxAge: c.NATS.MaxAge, Replicas: c.NATS.Replicas, Credentials: c.NATS.Credentials, TokenFile: c.NATS.TokenFile}
	if err := bus.Validate(); err != nil {
		return bus, usageError(err)
	}
	database := c.ClickHouse.Config
	if len(database.Addresses) > 0 {
		if err := database.Validate(); err != nil {
			return bus, usageError(err)
		}
		return bus, nil
	}
	database.Socket = socketName
	if err := database.Validate(); err != nil {
		return bus, usageError(err)
	}
	library, err := engine.Find(c.ClickHouse.Library)
	if err != nil {
		return bus, err
	}
	c.ClickHouse.Library = library
	return bus, nil
}

// up are the parts of one machine.
type up struct {
	config   *config
	log      *slog.Logger
	parts    *parts
	closed   []func() error // what to close after the parts, the last one first
	bus      *collector.Bus
	store    *store.Store
	svid     *svid.Source // nil without one
	token    string
	natsAuth *natsauth.Service // nil where NATS servers know agents by themselves
	agent    atomic.Pointer[agent.Agent]

	metrics *prometheus.Registry
	looked  *looked
	conn    atomic.Pointer[nats.Conn] // the agent's
	away    atomic.Pointer[error]     // why the agent's stream has not been there since the start
}

func newUp(c *config, log *slog.Logger, p *parts) *up {
	metrics := newMetrics()
	return &up{config: c, log: log, parts: p, metrics: metrics, looked: &looked{metrics: metrics}}
}

// start starts the parts: each is ready before the next one starts.
func (u *up) start(ctx context.Context, bus collector.BusConfig, listener net.Listener) error {
	c := u.config
	for _, name := range unknownEnvironment() {
		u.log.Warn("unknown environment variable " + name)
	}
	err := u.parts.start(ctx, "stream", func(ctx context.Context, ready func(string)) (err error) {
		if u.bus, err = collector.OpenBus(ctx, bus); err != nil {
			return err
		}
		defer u.bus.Close()
		ready(u.bus.Where())
		return u.bus.Run(ctx)
	})
	if err != nil {
		return err
	}
	if err := u.startNATSAuth(ctx); err != nil {
		return err
	}
	if err := u.startStore(ctx); err != nil {
		return err
	}
	metrics := u.metrics
	metrics.MustRegister(collector.Counters("ambit_store_skipped_total", "Rows of the store that could not be read, by cause.", u.store.Counters))
	config := collector.Default()
	config.Detector.Learn, config.Partitions = c.Learn, c.Partitions
	config.Detector.AlertsPerDay = c.Detector.AlertsPerDay
	if config.Detector.Policy, err = detector.ParsePolicy(c.Detector.Policy); err != nil {
		return usageError(err)
	}
	worker, err := collector.New(config, u.bus, u.store, metrics, u.log)
	if err != nil {
		return usageError(err)
	}
	err = u.parts.start(ctx, "collector", func(ctx context.Context, ready func(string)) error {
		return worker.Run(ctx, func() { ready("learning takes " + report.FormatWindow(c.Learn)) })
	})
	if err != nil {
		return err
	}
	reports := report.New(u.store, func(id event.Identity) string {
		p, _ := worker.Progress(id)
		return string(p.State)
	})
	reports.Rules = c.inventoryRules()
	reports.Reuse = reuseIdentities
	trail, err := u.startAudit(ctx)
	if err != nil {
		return err
	}
	decisions, err := u.startDecisions(ctx, trail)
	if err != nil {
		return err
	}
	roles, err := c.Decisions.apiRoles()
	if err != nil {
		return usageError(err)
	}
	desk := triage.New(u.store, trail, worker)
	desk.Log = u.log
	watch := collector.NewWatch(u.bus)
	l := &live{Collector: worker, watch: watch, store: u.store, svid: u.svid, natsAuth: u.natsAuth, folder: c.Data}
	checks := l.Health
	access, err := u.startAccess(ctx, listener)
	if err != nil {
		return err
	}
	feeds, err := u.newFeeds(reports, desk)
	if err != nil {
		return err
	}
	g := &gate{}
	pages, err := u.newPages(ctx, reports, g, access)
	if err != nil {
		return err
	}
	server := api.New(api.Config{
		Reports: reports, Triage: desk, Inventory: u.store, Standing: u.store, Live: l, Metrics: metrics, Logger: u.log,
		Scopes: u.store, Trails: u.store, Audit: trail, Token: u.token, Authenticators: access.authenticators, Anonymous: access.anonymous, Exposed: c.API.secured(), Rate: c.API.Rate,
		Decisions: decisions, DecisionRoles: roles, Feeds: feeds, Pages: pages, Sessions: pages,
	})
	g.server = server
	err = u.parts.start(ctx, "api", func(ctx context.Context, ready func(string)) error {
		defer watch.Close()
		ready("on " + listener.Addr().String())
		return server.Run(ctx, access.listener)
	})
	if err == nil {
		u.looked.checks.Store(&checks)
		err = u.startInventory(ctx)
	}
	if err == nil {
		err = u.startReports(ctx, reports)
	}
	if err == nil {
		err = u.startFeeds(ctx, feeds)
	}
	if err != nil || c.NoAgent {
		return err
	}
	return u.startAgent(ctx)
}

// startStore starts the embedded engine, unless servers are configured, and brings the schema up to date.
func (u *up) startStore(ctx context.Context) error {
	c := u.config.ClickHouse.Config
	if len(c.Addresses) == 0 {
		folder, err := u.socketFolder()
		if err != nil {
			return err
		}
		config := engine.DefaultSupervisorConfig()
		config.Server.Data = filepath.Join(u.config.Data, "clickhouse")
		config.Server.Socket = filepath.Join(folder, socketName)
		config.Server.Library = u.config.ClickHouse.Library
		config.Log = u.log
		c.Socket = config.Server.Socket
		s, err := engine.NewSupervisor(config)
		if err != nil {
			return err
		}
		err = u.parts.start(ctx, "engine", func(ctx context.Context, ready func(string)) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return s.Run(ctx) })
			g.Go(func() error {
				select {
				case <-s.Ready():
					ready("ClickHouse in " + config.Server.Data)
				case <-ctx.Done():
				}
				return nil
			})
			return g.Wait()
		})
		if err != nil {
			return err
		}
	}
	return u.parts.start(ctx, "store", func(inner context.Context, ready func(string)) (err error) {
		if u.store, err = store.Open(ctx, c); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, u.store.Close()) }()
		u.store.ScopeLock = collector.ScopeLock{Bus: u.bus, Log: u.log}
		migrate := u.store.Migrate
		if c.Socket == "" { // others may share it; the embedded engine's folder is locked
			migrate = func(ctx context.Context) error {
				return u.store.MigrateAlone(ctx, collector.SchemaLock{Bus: u.bus, Log: u.log})
			}
		}
		if err := migrate(ctx); err != nil {
			return err
		}
		ready("database " + c.Database)
		<-inner.Done()
		return nil
	})
}

// socketName is the engine's socket in its folder.
const socketName = "clickhouse.sock"

// socketFolder is where the engine's socket lives: in the data folder, unless that has too long a name for a socket.
func (u *up) socketFolder() (string, error) {
	const longest = 107 - len("/") - len(socketName)
	folder := filepath.Join(u.config.Data, "run")
	if len(folder) > longest {
		folder, err := os.MkdirTemp("", "ambit-")
		if err != nil {
			return "", fmt.Errorf("make a folder for the engine's socket: %w", err)
		}
		u.closed = append(u.closed, func() error { return os.RemoveAll(folder) })
		return folder, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the engine's socket: %w", err)
	}
	return folder, nil
}

// stop stops what start started.
func (u *up) stop() error {
	err := u.parts.stop()
	for i := len(u.closed) - 1; i >= 0; i-- {
		err = errors.Join(err, u.closed[i]())
	}
	return err
}

// closeConnection lets what was published leave before a connection closes.
func closeConnection(nc *nats.Conn) {
	_ = nc.FlushTimeout(2 * time.Second)
	nc.Close()
}
