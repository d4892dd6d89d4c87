package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// tlsConfig says how connections to servers outside are secured. Without any of it, the server is verified as a web server is, and the client
// is whoever the URL says.
type tlsConfig struct {
	SPIFFE    bool     `mapstructure:"spiffe"` // the Workload API's certificate, from spiffe.socket
	Cert      string   `mapstructure:"cert"`   // or these files
	Key       string   `mapstructure:"key"`
	CA        string   `mapstructure:"ca"`
	ServerIDs []string `mapstructure:"server_ids"` // who the server may be
}

// enabled says whether there is a certificate of our own.
func (t *tlsConfig) enabled() bool { return t.SPIFFE || t.Cert != "" || t.Key != "" || t.CA != "" }

// validateTLS says what is wrong with nats.tls and spiffe.
func (c *config) validateTLS() (faults []error) {
	t := &c.NATS.TLS
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.SPIFFE.Socket != "" && (t.SPIFFE || c.SPIFFE.Socket != os.Getenv(svid.SocketEnv)) { // what others set for others, and is of no use here, is no fault
		if err := (&svid.Config{Socket: c.SPIFFE.Socket}).Validate(); err != nil {
			fault("spiffe.socket (or SPIFFE_ENDPOINT_SOCKET): %w", err)
		}
	}
	if !t.enabled() {
		if len(t.ServerIDs) > 0 {
			fault("nats.tls.server_ids is set, but no certificate: set nats.tls.spiffe, or nats.tls.cert, nats.tls.key and nats.tls.ca")
		}
		return faults
	}
	files := map[string]string{"nats.tls.cert": t.Cert, "nats.tls.key": t.Key, "nats.tls.ca": t.CA}
	switch {
	case len(c.NATS.URLs) == 0:
		fault("nats.tls is set, but nats.urls is not: the embedded server opens no port; set nats.urls, or leave out nats.tls")
	case t.SPIFFE && (t.Cert != "" || t.Key != "" || t.CA != ""):
		fault("both nats.tls.spiffe and certificate files (nats.tls.cert, nats.tls.key, nats.tls.ca) are set; leave out one of the two")
	case t.SPIFFE && c.SPIFFE.Socket == "":
		fault("nats.tls.spiffe is set, but not where the Workload API is: set spiffe.socket or SPIFFE_ENDPOINT_SOCKET, for example to unix:///run/spire/agent-sockets/api.sock")
	case t.SPIFFE && len(t.ServerIDs) == 0:
		fault("nats.tls.spiffe is set, but not who the servers are: list their SPIFFE ids, or their trust domain as spiffe://shop.example, in nats.tls.server_ids")
	case !t.SPIFFE:
		for _, key := range []string{"nats.tls.cert", "nats.tls.key", "nats.tls.ca"} {
			if files[key] == "" {
				fault("%s is not set; nats.tls.cert, nats.tls.key and nats.tls.ca are three files that belong together", key)
			}
		}
	}
	peers, err := svid.ParsePeers(t.ServerIDs)
	switch {
	case err != nil:
		fault("nats.tls.server_ids: %w", err)
	case t.SPIFFE && len(peers.Names()) > 0:
		fault("nats.tls.server_ids: %s is a host name, but with nats.tls.spiffe servers are known by SPIFFE ids such as spiffe://shop.example/ns/nats/sa/nats", peers.Names()[0])
	}
	return faults
}

// servers are those whom connections may lead to: server_ids, or, without, the hosts of nats.urls by their names.
func (c *config) servers() (svid.Peers, error) {
	ids := c.NATS.TLS.ServerIDs
	if len(ids) == 0 {
		for _, text := range c.NATS.URLs {
			if u, err := url.Parse(text); err == nil {
				ids = append(ids, u.Hostname())
			}
		}
	}
	return svid.ParsePeers(ids)
}

// checkWait is how long a check waits for the Workload API.
const checkWait = 5 * time.Second

// startCertificate starts what keeps the certificate, if one is configured, and has bus use it. It waits until there is one; a check does not
// wait long.
func (u *up) startCertificate(ctx context.Context, bus *collector.BusConfig, check bool) error {
	t := &u.config.NATS.TLS
	if !t.enabled() {
		return nil
	}
	config := svid.Config{Cert: t.Cert, Key: t.Key, CA: t.CA, Logger: u.log}
	if t.SPIFFE {
		config.Socket = u.config.SPIFFE.Socket
	}
	if check {
		config.Logger = slog.New(slog.DiscardHandler) // its error says it
	}
	source, err := svid.New(config)
	if err != nil {
		return usageError(fmt.Errorf("nats.tls: %w", err))
	}
	peers, err := u.config.servers()
	if err != nil {
		return usageError(fmt.Errorf("nats.tls.server_ids is not set, and the servers are not known by nats.urls: %w", err))
	}
	u.svid, bus.TLS = source, source.Client(peers)
	u.metrics.MustRegister(certificateMetrics(source)...)
	waiting := ctx
	if check {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, checkWait)
		defer cancel()
	}
	err = u.parts.start(waiting, "svid", func(ctx context.Context, ready func(string)) error {
		if err := source.Run(ctx, func() { ready(source.Status()) }); err != nil {
			return fmt.Errorf("nats.tls: %w", err)
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("nats.tls.spiffe: %s", source.Status())
	}
	return err
}

// certificateMetrics tell of rotations, faults, and when the certificate ends.
func certificateMetrics(s *svid.Source) []prometheus.Collector {
	return []prometheus.Collector{
		collector.Counters("ambit_svid_events_total", "What happened to the own certificate and authorities, by cause.", s.Counters),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "ambit", Subsystem: "svid", Name: "expiry_timestamp_seconds", Help: "When the own certificate ends, in Unix time; 0 without one.",
		}, func() float64 {
			if end := s.Until(); !end.IsZero() {
				return float64(end.Unix())
			}
			return 0
		}),
	}
}
