package cli

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// validateProbes says what is wrong with tls.
func (c *config) validateProbes() (faults []error) {
	if p := c.TLS.Probes; p != "on" && p != "off" {
		faults = append(faults, fmt.Errorf("tls.probes %q is not on or off", p))
	}
	for _, text := range c.TLS.TrustBundles {
		if _, err := svid.ParseBundleFile(text); err != nil {
			faults = append(faults, fmt.Errorf("tls.trust_bundles: %w", err))
		}
	}
	return faults
}

// authorities are those by whose word certificates are judged that are seen; nil where TLS is not watched.
func (c *config) authorities(log *slog.Logger) (*svid.Authorities, error) {
	if c.TLS.Probes == "off" {
		return nil, nil
	}
	config := svid.AuthoritiesConfig{Socket: c.SPIFFE.Socket, Logger: log}
	if (&svid.Config{Socket: config.Socket}).Validate() != nil { // what others set for others, and is of no use here
		config.Socket = ""
	}
	for _, text := range c.TLS.TrustBundles {
		f, err := svid.ParseBundleFile(text)
		if err != nil {
			return nil, usageError(fmt.Errorf("tls.trust_bundles: %w", err))
		}
		config.Files = append(config.Files, f)
	}
	a, err := svid.NewAuthorities(config)
	if err != nil {
		return nil, fmt.Errorf("tls.trust_bundles: %w", err)
	}
	return a, nil
}

// judge asks authorities about certificates.
func judge(a *svid.Authorities) func([][]byte, time.Time) handshake.Verdict {
	return func(chain [][]byte, at time.Time) handshake.Verdict {
		v := a.JudgeDER(chain, at)
		out := handshake.Verdict{Verified: v.Verified, Cause: string(v.Cause)}
		if id, err := event.ParseIdentity(v.ID.String()); err == nil { // as it is unless there is none
			out.ID = id
		}
		return out
	}
}
