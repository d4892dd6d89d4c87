package collector

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BusConfig says where messages travel.
type BusConfig struct {
	URLs        []string      // outside NATS servers, which are tried in any order; empty: one is embedded, with its files in Dir
	TLS         *tls.Config   // for outside ones; nil: as the URLs say, with the authorities that this machine trusts
	Credentials string        // file with a user's JWT and seed, for outside ones
	TokenFile   string        // file with a token to show to outside ones, such as a service account's; read for each connection
	Inbox       string        // where answers come: nobody else may listen there; empty is the collectors'
	Replicas    int           // of all streams and buckets that are made: 0 or 1, or 3 or 5 in a cluster
	Dir         string        // for the embedded one
	MaxBytes    int64         // bound of the observation stream; the oldest messages go first
	MaxAge      time.Duration // likewise
	Logger      *slog.Logger
}

// DefaultBusConfig is an embedded server without a folder.
func DefaultBusConfig() BusConfig {
	return BusConfig{Replicas: 1, MaxBytes: 2 << 30, MaxAge: 72 * time.Hour, Logger: slog.Default()}
}

// Validate says what is wrong.
func (c *BusConfig) Validate() error {
	var faults []error
	if c.MaxBytes < 16<<20 {
		faults = append(faults, errors.New("nats.max_bytes is below 16 MiB: a short outage of the store would lose observations"))
	}
	if c.MaxAge < time.Minute {
		faults = append(faults, errors.New("nats.max_age is below 1m: a short outage of the store would lose observations"))
	}
	switch {
	case c.Replicas != 0 && c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		faults = append(faults, fmt.Errorf("nats.replicas is %d: set it to 1, or to 3 or 5 in a cluster of so many servers", c.Replicas))
	case c.Replicas > 1 && len(c.URLs) == 0:
		faults = append(faults, fmt.Errorf("nats.replicas is %d, and the embedded server is alone: set it to 1, or nats.urls to a cluster", c.Replicas))
	}
	if len(c.URLs) == 0 && c.Dir == "" {
		faults = append(faults, errors.New("neither nats.urls nor a folder for the embedded server is set"))
	}
	if c.Credentials != "" {
		if err := c.checkCredentials(); err != nil {
			faults = append(faults, err)
		}
	}
	if c.TokenFile != "" {
		if err := c.checkTokenFile(); err != nil {
			faults = append(faults, err)
		}
	}
	for i, u := range c.URLs {
		if err := checkURL(u); err != nil {
			faults = append(faults, fmt.Errorf("nats.urls: number %d %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

// checkURL refuses connections that others could read or forge. Its errors do not show what it cannot read, where a password may be anywhere.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return errors.New("is not a URL such as nats://127.0.0.1:4222")
	}
	if strings.Contains(text, ",") { // the client would take it for several, of which the others were not looked at
		return errors.New("holds a comma: list each server by itself, and write a comma in a password as %2C")
	}
	switch u.Scheme {
	case "tls":
		return nil
	case "nats":
		ip, _ := netip.ParseAddr(u.Hostname())
		if u.Hostname() == "localhost" || ip.Unmap().IsLoopback() {
			return nil
		}
		return fmt.Errorf("is a plain connection to another machine, %s; use tls:// (with nats.tls for certificates) or a loopback address", u.Host)
	}
	return fmt.Errorf("has the scheme %q, which is neither nats nor tls", u.Scheme)
}

// Bus is a NATS server with JetStream, embedded in this process or outside. It is safe for concurrent use.
type Bus struct {
	cfg    BusConfig
	server *embedded // nil when outside
}

// OutsideBus is the bus of an agent: servers outside, on which it makes nothing, since it need not be allowed more than to publish.
func OutsideBus(cfg BusConfig) (*Bus, error) {
	if len(cfg.URLs) == 0 {
		return nil, errors.New("nats.urls is not set")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Bus{cfg: cfg}, nil
}

// OpenBus starts or reaches the server, and makes the streams. The caller closes the bus after all of its connections.
func OpenBus(ctx context.Context, cfg BusConfig) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg}
	if len(cfg.URLs) == 0 {
		b.server = &embedded{cfg: cfg}
		if err := b.server.start(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.makeStreams(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Run keeps an embedded server working: after the disk was full, it is restarted in place, and connections find it again. It returns when
// ctx ends, or with an error when the server cannot be brought back. The server goes on until Close.
func (b *Bus) Run(ctx context.Context) error {
	if b.server == nil {
		<-ctx.Done()
		return nil
	}
	return b.server.run(ctx)
}

// Ready says why an embedded server takes no messages, nil if it takes them. Of an outside server it knows nothing.
func (b *Bus) Ready() error {
	if b.server == nil {
		return nil
	}
	return b.server.ready()
}

// Connect opens a connection; the caller drains or closes it.
func (b *Bus) Connect(name string) (*nats.Conn, error) {
	return b.connect(name, b.complain(name))
}

// ConnectLater is Connect, but a server that does not answer yet is no error: it is tried again until it does. An agent that starts while the
// stream is away watches all the same.
func (b *Bus) ConnectLater(name string) (*nats.Conn, error) {
	return b.connect(name, b.complain(name), nats.RetryOnFailedConnect(true))
}

func (b *Bus) complain(name string) func(error) {
	return func(err error) { b.cfg.Logger.Warn("NATS", "connection", name, "error", err) }
}

// connect has complaints of the server told.
func (b *Bus) connect(name string, complain func(error), more ...nats.Option) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),      // what cannot be sent fails at once, and is sent again in its order
		nats.IgnoreDiscoveredServers(), // only addresses that were checked
		nats.IgnoreAuthErrorAbort(),    // a server that refuses everybody for a while is tried again, as one that is away
		nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { complain(err) }),
		nats.CustomInboxPrefix(cmp.Or(b.cfg.Inbox, collectorInbox)),
	}
	where := strings.Join(b.cfg.URLs, ",")
	if b.server != nil {
		opts = append(opts, nats.InProcessServer(b.server), nats.ReconnectWait(100*time.Millisecond))
		where = ""
	} else {
		opts = append(opts, b.outside()...)
	}
	nc, err := nats.Connect(where, append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w; %s", redact(b.cfg.URLs), err, remedy(err, b.cfg.TLS != nil))
	}
	return nc, nil
}

// remedy says where to look when a connection fails. A server that refuses a certificate may be gone before its reason is read.
func remedy(err error, certificate bool) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error",
		certificate && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)):
		return "it refuses this certificate, it seems: does it trust who signed that, and is nats.tls right?"
	case errors.Is(err, nats.ErrTLS):
		return "is it the right server, and does nats.tls name it?"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return "it does not know this user: is there one for this certificate or for nats.credentials, see deploy/nats?"
	case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return "one side wants TLS, the other has none: are nats.urls and nats.tls right?"
	}
	return "is it running, and is nats.urls right?"
}

// checkTimeout is how long CheckStream waits for an answer.
const checkTimeout = 2 * time.Second

// CheckStream says so if nothing keeps what is published to subject, or publishing there is not allowed. It publishes there what no stream takes, which is all that an agent is
// allowed for sure; without an answer it says nothing.
func (b *Bus) CheckStream(ctx context.Context, subject string) error {
	denied := make(chan struct{}, 1)
	nc, err := b.connect("ambit check", func(err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			select {
			case denied <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := js.Publish(ctx, subject, nil, jetstream.WithExpectStream("none"), jetstream.WithRetryAttempts(0))
		answered <- err
	}()
	select {
	case err = <-answered:
	case <-denied:
		cancel()
		<-answered
		return fmt.Errorf("%s does not let this agent publish on %s: give it the permissions of that node, see deploy/nats", b.Where(), subject)
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("%s has no stream for %s yet: start `ambit collector` there, with the same nats.urls", b.Where(), subject)
	}
	return nil // it refused, as was wanted, or gave no answer
}

func redact(urls []string) string {
	var out []string
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil {
			if _, password := u.User.Password(); u.User != nil && !password {
				u.User = url.User("xxxxx") // a token
			}
			out = append(out, u.Redacted())
		}
	}
	return strings.Join(out, ",")
}

// Where says in words where messages travel.
func (b *Bus) Where() string {
	if b.server != nil {
		return "NATS in " + b.cfg.Dir
	}
	return "NATS at " + redact(b.cfg.URLs)
}

// Close stops the embedded server; an outside one is left alone.
func (b *Bus) Close() {
	if b.server != nil {
		b.server.stop()
	}
}
