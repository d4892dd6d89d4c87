package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/secretfile"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/nearest"
)

// decisionsConfig says who may deny, and who hears of it. What nodes do is in the section deny.
type decisionsConfig struct {
	KeyFile  string        `mapstructure:"key_file"` // signing key; empty: one in the data folder, unless nats.urls names servers outside
	Approval string        `mapstructure:"approval"` // none, enforce, all: what another person must approve
	Wait     time.Duration `mapstructure:"wait"`     // how long a decision waits for approval
	Roles    struct {
		DryRun  string `mapstructure:"dry_run"`
		Enforce string `mapstructure:"enforce"`
		Approve string `mapstructure:"approve"`
		Revoke  string `mapstructure:"revoke"`
	} `mapstructure:"roles"`
	Automatic []map[string]any `mapstructure:"automatic"` // which findings are answered with a decision; none by default
	Webhook   struct {
		URL        string `mapstructure:"url"`
		SecretFile string `mapstructure:"secret_file"`
		CAFile     string `mapstructure:"ca_file"` // authorities of the receiver; empty: those of this machine
	} `mapstructure:"webhook"`
	CAEP struct {
		URL               string `mapstructure:"url"`
		Issuer            string `mapstructure:"issuer"`
		Audience          string `mapstructure:"audience"`
		KeyFile           string `mapstructure:"key_file"`
		AuthorizationFile string `mapstructure:"authorization_file"` // its contents are the header Authorization
		CAFile            string `mapstructure:"ca_file"`
	} `mapstructure:"caep"`
}

// decisionKeyName is the file in the data folder that holds the key that decisions are signed with.
const decisionKeyName = "decision-key"

func defaultDecisions() decisionsConfig {
	d := decision.Default()
	c := decisionsConfig{Approval: string(d.Approval), Wait: d.Wait}
	c.Roles.DryRun, c.Roles.Enforce, c.Roles.Approve, c.Roles.Revoke = api.Responder.String(), api.Admin.String(), api.Admin.String(), api.Responder.String()
	return c
}

// rules reads the rules of automatic decisions. All faults are told.
func (c *decisionsConfig) rules() ([]decision.Rule, error) {
	known := []string{"rule", "severity", "identity", "to", "mode", "for"}
	var out []decision.Rule
	var faults []error
	for i, m := range c.Automatic {
		r := decision.Rule{Severity: event.High, To: "resource", Mode: event.DryRun, For: time.Hour}
		var seen mapstructure.Metadata
		d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &r, Metadata: &seen, DecodeHook: decodeWindow})
		if err == nil {
			err = d.Decode(m)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("decisions.automatic: rule %d: %s", i+1, decodeFault(err)))
			continue
		}
		slices.Sort(seen.Unused)
		for _, key := range seen.Unused {
			faults = append(faults, fmt.Errorf("decisions.automatic: rule %d: unknown key %s%s", i+1, key, nearest.Hint(key, known)))
		}
		out = append(out, r)
	}
	return out, errors.Join(faults...)
}

// service is the configuration of those who decide, without key and points.
func (c *config) decisionService() (decision.Config, error) {
	d := decision.Default()
	rules, err := c.Decisions.rules()
	if err != nil {
		return d, err
	}
	td, err := event.ParseTrustDomain(c.TrustDomain)
	if err != nil {
		return d, fmt.Errorf("trust_domain: %w", err)
	}
	d.MaxLife, d.Approval, d.Wait, d.Automatic, d.TrustDomain = c.Deny.MaxLife, decision.Approval(c.Decisions.Approval), c.Decisions.Wait, rules, td
	d.Protected, d.Floor, d.Trusted, d.PerMinute, d.Most = c.Deny.Protected, c.Deny.Floor, c.Deny.Keys, c.Deny.AutomaticPerMinute, c.Deny.AutomaticMax
	return d, nil
}

func (c *config) validateDecisions() error {
	d, err := c.decisionService()
	if err == nil {
		err = d.Validate()
	}
	x := &c.Decisions
	if _, also := x.apiRoles(); also != nil {
		err = errors.Join(err, also)
	}
	if (x.Webhook.URL == "") != (x.Webhook.SecretFile == "") {
		err = errors.Join(err, errors.New("decisions.webhook: url and secret_file go together"))
	}
	if x.CAEP.URL != "" && (x.CAEP.Issuer == "" || x.CAEP.Audience == "" || x.CAEP.KeyFile == "") {
		err = errors.Join(err, errors.New("decisions.caep: issuer, audience and key_file are needed besides url"))
	}
	return err
}

// decisionKey reads or makes the signing key, nil where none is configured.
func (c *config) decisionKey() (nkeys.KeyPair, error) {
	switch {
	case c.Decisions.KeyFile != "":
		return decision.LoadKey(c.Decisions.KeyFile)
	case len(c.NATS.URLs) > 0: // agents on other machines would not know a key that was made here
		return nil, nil
	}
	return decision.EnsureKey(filepath.Join(c.Data, decisionKeyName))
}

// points are the other places that hear of decisions.
func (c *decisionsConfig) points() ([]decision.Point, error) {
	var out []decision.Point
	if c.Webhook.URL != "" {
		secret, err := readSecret(c.Webhook.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("decisions.webhook.secret_file: %w", err)
		}
		client, err := clientFor(c.Webhook.CAFile)
		if err != nil {
			return nil, fmt.Errorf("decisions.webhook.ca_file: %w", err)
		}
		p, err := decision.NewWebhook(c.Webhook.URL, secret, client)
		if err != nil {
			return nil, fmt.Errorf("decisions.%w", err)
		}
		out = append(out, p)
	}
	if c.CAEP.URL != "" {
		key, err := decision.LoadSigner(c.CAEP.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("decisions.caep.key_file: %w", err)
		}
		config := decision.CAEPConfig{URL: c.CAEP.URL, Issuer: c.CAEP.Issuer, Audience: c.CAEP.Audience, Key: key}
		if c.CAEP.AuthorizationFile != "" {
			header, err := readSecret(c.CAEP.AuthorizationFile)
			if err != nil {
				return nil, fmt.Errorf("decisions.caep.authorization_file: %w", err)
			}
			config.Authorization = string(header)
		}
		client, err := clientFor(c.CAEP.CAFile)
		if err != nil {
			return nil, fmt.Errorf("decisions.caep.ca_file: %w", err)
		}
		p, err := decision.NewCAEP(config, client)
		if err != nil {
			return nil, fmt.Errorf("decisions.%w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

// maxSecret bounds what is read of a secret's file, in bytes.
const maxSecret = 8 << 10

// readSecret reads a file that nobody else may read.
func readSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	if err := secretfile.Check(info); err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	if info.Size() > maxSecret {
		return nil, fmt.Errorf("%s is larger than %d bytes, too large for a secret", file, maxSecret)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	return bytes.TrimSpace(data), nil
}

// clientFor is an HTTP client that trusts the authorities in a file, or those of this machine.
func clientFor(file string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}

func (c *decisionsConfig) apiRoles() (out api.DecisionRoles, err error) {
	for _, r := range []struct {
		key, text string
		role      *api.Role
	}{{"dry_run", c.Roles.DryRun, &out.DryRun}, {"enforce", c.Roles.Enforce, &out.Enforce}, {"approve", c.Roles.Approve, &out.Approve}, {"revoke", c.Roles.Revoke, &out.Revoke}} {
		if *r.role, err = api.ParseRole(r.text); err != nil {
			return out, fmt.Errorf("decisions.roles.%s: %w", r.key, err)
		}
	}
	return out, nil
}

// startDecisions starts what signs decisions, and has the agent of this process trust its key.
func (u *up) startDecisions(ctx context.Context, trail decision.Trail) (*decision.Service, error) {
	c := u.config
	d, err := c.decisionService()
	if err != nil {
		return nil, usageError(err)
	}
	if d.Key, err = c.decisionKey(); err != nil {
		return nil, err
	}
	if d.Points, err = c.Decisions.points(); err != nil {
		return nil, usageError(err)
	}
	d.Log = u.log
	s, err := decision.New(d, u.store, trail, u.metrics)
	if err != nil {
		return nil, usageError(err)
	}
	if s.Key() != "" && !slices.Contains(c.Deny.Keys, s.Key()) {
		c.Deny.Keys = append(slices.Clone(c.Deny.Keys), s.Key())
	}
	err = u.parts.start(ctx, "decisions", func(ctx context.Context, ready func(string)) error {
		nc, err := u.bus.Connect("ambit decisions")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		return s.Run(ctx, nc, func() {
			if s.Key() == "" {
				ready("shown, not signed: decisions.key_file is not set")
				return
			}
			ready("signed by " + strings.TrimSpace(s.Key()))
		})
	})
	return s, err
}
