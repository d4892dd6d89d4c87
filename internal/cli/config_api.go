package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// apiConfig says who may use the API, and how its port is secured.
type apiConfig struct {
	TLS struct {
		Cert   string `mapstructure:"cert"`   // PEM files, which are read again when they change
		Key    string `mapstructure:"key"`    //
		SPIFFE bool   `mapstructure:"spiffe"` // or the Workload API's certificate, from spiffe.socket
	} `mapstructure:"tls"`
	Anonymous string        `mapstructure:"anonymous"` // what who shows nothing may do, on loopback: viewer, none
	Tokens    string        `mapstructure:"tokens"`    // file of `ambit token`; empty: tokens.json in the data folder
	Rate      float64       `mapstructure:"rate"`      // requests of each principal per second
	HSTS      time.Duration `mapstructure:"hsts"`      // for which browsers are told to use TLS with this host; 0: they are not told
	OIDC      struct {
		Issuer   string   `mapstructure:"issuer"`   // URL of an OpenID provider; empty: none
		Audience string   `mapstructure:"audience"` // who Ambit is to it
		Claim    string   `mapstructure:"claim"`    // whose values give roles
		Name     string   `mapstructure:"name"`     // claim that names people
		Roles    []string `mapstructure:"roles"`    // value=role; * stands for anything
		CA       string   `mapstructure:"ca"`       // file of the provider's authorities; empty: those of this machine

		ClientID         string   `mapstructure:"client_id"`          // by which people log in to the pages; empty: they do not
		ClientSecretFile string   `mapstructure:"client_secret_file"` // empty: a public client
		Scopes           []string `mapstructure:"scopes"`             // that are asked for beside openid
	} `mapstructure:"oidc"`
	SPIFFE struct {
		Roles []string `mapstructure:"roles"` // SPIFFE id=role; * stands for anything
	} `mapstructure:"spiffe"`
}

func defaultAPI() (a apiConfig) {
	a.Anonymous, a.Rate = "viewer", api.DefaultRate
	a.OIDC.Claim, a.OIDC.Name = "groups", "sub"
	a.OIDC.Scopes = []string{"profile"}
	return a
}

func (a *apiConfig) secured() bool { return a.TLS.SPIFFE || a.TLS.Cert != "" }

func (a *apiConfig) scheme() string {
	if a.secured() {
		return "https"
	}
	return "http"
}

// validateAPI says what is wrong with api.
func (c *config) validateAPI() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	a := &c.API
	switch {
	case a.TLS.SPIFFE && (a.TLS.Cert != "" || a.TLS.Key != ""):
		fault("both api.tls.spiffe and api.tls.cert are set; leave out one of the two")
	case a.TLS.SPIFFE && c.SPIFFE.Socket == "":
		fault("api.tls.spiffe is set, but not where the Workload API is: set spiffe.socket or SPIFFE_ENDPOINT_SOCKET")
	case (a.TLS.Cert == "") != (a.TLS.Key == ""):
		fault("api.tls.cert and api.tls.key are two files that belong together; only one is set")
	}
	if a.Anonymous != "viewer" && a.Anonymous != "none" {
		fault("api.anonymous %q is not viewer or none", a.Anonymous)
	}
	if a.Rate < 1 || a.Rate > 1e6 {
		fault("api.rate %g is not from 1 to 1000000", a.Rate)
	}
	switch {
	case a.HSTS < 0 || a.HSTS%time.Second != 0 || a.HSTS > 2*365*24*time.Hour:
		fault("api.hsts %s is not from 0 to 17520h, in whole seconds", a.HSTS)
	case a.HSTS > 0 && !a.secured():
		fault("api.hsts is set, but the API has no TLS: set api.tls.cert and api.tls.key, or api.tls.spiffe")
	}
	if _, err := auth.ParseGrants(a.SPIFFE.Roles); err != nil {
		fault("api.spiffe.roles: %w", err)
	}
	if len(a.SPIFFE.Roles) > 0 && !a.secured() {
		fault("api.spiffe.roles is set, but the API has no TLS in which clients could show certificates: set api.tls.spiffe, or api.tls.cert and api.tls.key")
	}
	if a.OIDC.Issuer != "" {
		grants, err := auth.ParseGrants(a.OIDC.Roles)
		if err == nil {
			err = (&auth.OIDCConfig{Issuer: a.OIDC.Issuer, Audience: a.OIDC.Audience, Grants: grants}).Validate()
		}
		if err != nil {
			fault("api.oidc: %w", err)
		}
		if a.OIDC.ClientSecretFile != "" && a.OIDC.ClientID == "" {
			fault("api.oidc.client_secret_file is set without api.oidc.client_id")
		}
	} else if len(a.OIDC.Roles) > 0 || a.OIDC.Audience != "" || a.OIDC.ClientID != "" {
		fault("api.oidc is set without api.oidc.issuer")
	}
	return errors.Join(faults...)
}

// tokensFile is where static tokens are.
func (c *config) tokensFile() string {
	if c.API.Tokens != "" {
		return c.API.Tokens
	}
	return filepath.Join(c.Data, tokensName)
}

// access is who may use the API, and how.
type access struct {
	authenticators []api.Authenticator
	anonymous      api.Role
	oidc           *auth.OIDC // nil without one
	listener       net.Listener
}

// startAccess makes what knows principals, and puts TLS over the listener, if it is configured.
func (u *up) startAccess(ctx context.Context, listener net.Listener) (*access, error) {
	c := &u.config.API
	out := &access{listener: listener}
	if c.Anonymous == "viewer" && !c.secured() { // CheckListen keeps it on loopback then
		out.anonymous = api.Viewer
	}
	tokens, err := auth.NewTokens(u.config.tokensFile(), func(err error) { u.log.Error("no static token is accepted", "error", err) })
	if err != nil {
		return nil, usageError(err)
	}
	out.authenticators = append(out.authenticators, tokens)
	if c.OIDC.Issuer != "" {
		o, err := u.openID()
		if err != nil {
			return nil, usageError(fmt.Errorf("api.oidc: %w", err))
		}
		out.authenticators, out.oidc = append(out.authenticators, o), o
	}
	if !c.secured() {
		return out, nil
	}
	config, err := u.serverTLS(ctx)
	if err != nil {
		return nil, err
	}
	if len(c.SPIFFE.Roles) > 0 {
		s, err := u.startSPIFFE(ctx)
		if err != nil {
			return nil, err
		}
		out.authenticators = append(out.authenticators, s)
		config.ClientAuth = tls.RequestClientCert // who shows one is verified by the authenticator
		config.SessionTicketsDisabled = true      // so that everyone shows a valid certificate each time
	}
	out.listener = tls.NewListener(listener, config)
	return out, nil
}

func (u *up) openID() (*auth.OIDC, error) {
	c := &u.config.API.OIDC
	grants, err := auth.ParseGrants(c.Roles)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	if c.CA != "" {
		pool, err := readPool(c.CA)
		if err != nil {
			return nil, err
		}
		client.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	var secret []byte
	if c.ClientSecretFile != "" {
		if secret, err = readSecret(c.ClientSecretFile); err != nil {
			return nil, fmt.Errorf("client_secret_file: %w", err)
		}
	}
	return auth.NewOIDC(auth.OIDCConfig{
		Issuer: c.Issuer, Audience: c.Audience, Claim: c.Claim, Name: c.Name, Grants: grants, Client: client,
		ClientID: c.ClientID, ClientSecret: strings.TrimSpace(string(secret)), Scopes: c.Scopes,
	})
}

// readPool reads a file of authorities.
func readPool(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read authorities: there is no PEM certificate in %s", file)
	}
	return pool, nil
}

// startSPIFFE starts what keeps the authorities of clients' certificates.
func (u *up) startSPIFFE(ctx context.Context) (*auth.SPIFFE, error) {
	config := svid.AuthoritiesConfig{Socket: u.config.SPIFFE.Socket, Logger: u.log}
	if (&svid.Config{Socket: config.Socket}).Validate() != nil {
		config.Socket = ""
	}
	for _, text := range u.config.TLS.TrustBundles {
		f, err := svid.ParseBundleFile(text)
		if err != nil {
			return nil, usageError(fmt.Errorf("tls.trust_bundles: %w", err))
		}
		config.Files = append(config.Files, f)
	}
	if config.Socket == "" && len(config.Files) == 0 {
		return nil, usagef("api.spiffe.roles is set, but not whose word counts about certificates: set spiffe.socket or tls.trust_bundles")
	}
	authorities, err := svid.NewAuthorities(config)
	if err != nil {
		return nil, fmt.Errorf("tls.trust_bundles: %w", err)
	}
	grants, err := auth.ParseGrants(u.config.API.SPIFFE.Roles)
	if err != nil {
		return nil, usageError(fmt.Errorf("api.spiffe.roles: %w", err))
	}
	err = u.parts.start(ctx, "clients", func(ctx context.Context, ready func(string)) error {
		ready("known by SPIFFE certificates")
		return authorities.Run(ctx)
	})
	return &auth.SPIFFE{Grants: grants, Verify: func(chain []*x509.Certificate) (string, error) {
		var der [][]byte
		for _, c := range chain {
			der = append(der, c.Raw)
		}
		v := authorities.JudgeDER(der, time.Now())
		if !v.Verified {
			return "", errors.New(v.Reason)
		}
		return v.ID.String(), nil
	}}, err
}

// serverTLS is how the API shows who it is.
func (u *up) serverTLS(ctx context.Context) (*tls.Config, error) {
	c := &u.config.API.TLS
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if !c.SPIFFE {
		files := &certificateFiles{cert: c.Cert, key: c.Key, log: u.log}
		if err := files.read(); err != nil {
			return nil, usageError(err)
		}
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.get(), nil }
		return config, nil
	}
	source, err := svid.New(svid.Config{Socket: u.config.SPIFFE.Socket, Logger: u.log})
	if err != nil {
		return nil, usageError(fmt.Errorf("api.tls: %w", err))
	}
	err = u.parts.start(ctx, "api-svid", func(ctx context.Context, ready func(string)) error {
		return source.Run(ctx, func() { ready(source.Status()) })
	})
	config.GetCertificate = source.Server(svid.Peers{}).GetCertificate
	return config, err
}

// certificateFiles are a certificate and its key, which may be replaced. They are looked at when they are asked for, but not often.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	looked time.Time
	own    *tls.Certificate
}

// lookAtFiles is how long a certificate is shown before its files are read again.
const lookAtFiles = 30 * time.Second

func (f *certificateFiles) read() error {
	own, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("read api.tls.cert and api.tls.key: %w", err)
	}
	f.own, f.looked = &own, time.Now()
	return nil
}

func (f *certificateFiles) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) > lookAtFiles {
		f.looked = time.Now()
		if err := f.read(); err != nil {
			f.log.Error("the certificate of the API stays as it was", "error", err)
		}
	}
	return f.own
}
