package collector

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/secretfile"
)

// collectorInbox is where answers to collectors come.
const collectorInbox = "_INBOX.collector"

// dialTimeout bounds reaching one server; TLS and signing in have as much again.
const dialTimeout = 5 * time.Second

// outside are the options of connections to outside servers.
func (b *Bus) outside() []nats.Option {
	opts := []nats.Option{
		nats.SetCustomDialer(&spreadDialer{}),
		nats.Timeout(dialTimeout),
		nats.CustomReconnectDelay(reconnectDelay),
	}
	switch {
	case b.cfg.TLS != nil:
		opts = append(opts, nats.Secure(b.cfg.TLS))
	case slices.ContainsFunc(b.cfg.URLs, func(u string) bool { return strings.HasPrefix(strings.ToLower(u), "tls:") }):
		opts = append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13}))
	}
	if b.cfg.Credentials != "" { // read for each connection, so that they can be replaced
		opts = append(opts, nats.UserCredentials(b.cfg.Credentials))
	}
	if b.cfg.TokenFile != "" {
		opts = append(opts, nats.TokenHandler(b.token))
	}
	return opts
}

// token is what the file of it holds now. Without one, the server says who is refused.
func (b *Bus) token() string {
	text, err := readToken(b.cfg.TokenFile)
	if err != nil {
		b.cfg.Logger.Warn("no token to show to NATS", "error", err)
	}
	return text
}

// maxToken bounds what is read of a file with a token, in bytes.
const maxToken = 16 << 10

func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("nats.token_file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("nats.token_file: %w", err)
	case len(text) > maxToken || len(bytes.TrimSpace(text)) == 0:
		return "", fmt.Errorf("nats.token_file: %s is empty or too long for a token", file)
	}
	return string(bytes.TrimSpace(text)), nil
}

func (c *BusConfig) checkTokenFile() error {
	switch {
	case len(c.URLs) == 0:
		return errors.New("nats.token_file is set, and the embedded server asks for none: set nats.urls, too, or neither")
	case c.Credentials != "":
		return errors.New("both nats.token_file and nats.credentials are set; leave out one of the two")
	}
	_, err := readToken(c.TokenFile)
	return err
}

// How connections come back: the first try is within spread, since all clients of a server lose it at once; when no server took it, it waits longer
// each time. A lease is lost after seconds, so that waits must be short while there is hope.
const (
	spread          = 500 * time.Millisecond
	reconnectLeast  = 250 * time.Millisecond
	reconnectLonger = 5 * time.Second
)

// reconnectDelay is how long a connection waits when no server took it, from the half of a bound to all of it. The bound doubles each time.
func reconnectDelay(attempts int) time.Duration {
	d := min(reconnectLeast<<min(max(attempts-1, 0), 10), reconnectLonger)
	return d/2 + rand.N(d/2)
}

// spreadDialer waits a little before it dials again.
type spreadDialer struct {
	dialled atomic.Bool
}

// Dial implements [nats.CustomDialer].
func (d *spreadDialer) Dial(network, address string) (net.Conn, error) {
	if d.dialled.Load() {
		time.Sleep(rand.N(spread))
	}
	conn, err := net.DialTimeout(network, address, dialTimeout)
	if err == nil {
		d.dialled.Store(true)
	}
	return conn, err
}

// checkCredentials says what is wrong with the file of credentials. It does not show what is in it.
func (c *BusConfig) checkCredentials() error {
	if len(c.URLs) == 0 {
		return errors.New("nats.credentials is set, and the embedded server asks for none: set nats.urls, too, or neither")
	}
	info, err := os.Stat(c.Credentials)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("nats.credentials: there is no file %s", c.Credentials)
	case err != nil:
		return fmt.Errorf("nats.credentials: %w", err)
	}
	if err := secretfile.Check(info); err != nil {
		return fmt.Errorf("nats.credentials: %s %w", c.Credentials, err)
	}
	text, err := os.ReadFile(c.Credentials)
	if err != nil {
		return fmt.Errorf("nats.credentials: %w", err)
	}
	defer clear(text)
	token, jwtErr := nkeys.ParseDecoratedJWT(text) // which takes a file without any for one
	key, keyErr := nkeys.ParseDecoratedUserNKey(text)
	if jwtErr != nil || keyErr != nil || strings.Count(token, ".") != 2 {
		return fmt.Errorf("nats.credentials: %s does not hold a user's JWT and seed, as `nsc generate creds` writes it", c.Credentials)
	}
	key.Wipe()
	return nil
}
