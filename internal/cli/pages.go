package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/web"
)

// gate lets pages know by the API who asks, and ask it. The API is made after the pages, which it serves.
type gate struct{ server *api.Server }

// Who implements [web.Gate].
func (g *gate) Who(r *http.Request) (web.Viewer, error) {
	p, err := g.server.Who(r)
	return viewer(p), err
}

// Judge implements [web.Gate].
func (g *gate) Judge(r *http.Request, token string) (web.Viewer, error) {
	p, err := g.server.Judge(r, token)
	return viewer(p), err
}

// ServeHTTP implements [http.Handler].
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.server.ServeHTTP(w, r) }

// Login implements [web.Gate].
func (g *gate) Login(r *http.Request) error { return g.server.Login(r) }

func viewer(p api.Principal) web.Viewer {
	return web.Viewer{Name: p.Name, Role: web.Role(p.Role), Anonymous: p.Anonymous()}
}

// newPages makes the pages. The gate's server is set before they are served.
func (u *up) newPages(ctx context.Context, reports *report.Reporter, g *gate, known *access) (*web.Site, error) {
	roles, err := u.config.Decisions.apiRoles()
	if err != nil {
		return nil, usageError(err)
	}
	deny := web.DenyRoles{DryRun: web.Role(roles.DryRun), Enforce: web.Role(roles.Enforce), Approve: web.Role(roles.Approve), Revoke: web.Role(roles.Revoke)}
	c := web.Config{Deny: deny, Reports: reports, Gate: g, API: g, Secured: u.config.API.secured(), HSTS: u.config.API.HSTS, Version: readBuildInfo().Version, Logger: u.log}
	if known.oidc != nil && known.oidc.Logs() {
		c.OIDC = known.oidc
	}
	if c.Key, c.Ended, err = u.startSessions(ctx); err != nil {
		return nil, err
	}
	return web.New(c)
}

// startSessions gives what sessions are sealed with, and which of them were logged out.
func (u *up) startSessions(ctx context.Context) (key []byte, ended *web.Ended, err error) {
	ended = web.NewEnded()
	err = u.parts.start(ctx, "sessions", func(ctx context.Context, ready func(string)) error {
		nc, err := u.bus.Connect("ambit web")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		js, err := jetstream.New(nc)
		if err != nil {
			return fmt.Errorf("use JetStream: %w", err)
		}
		if key, err = web.SharedKey(ctx, js); err != nil {
			return err
		}
		return ended.Run(ctx, js, func() { ready("of pages") })
	})
	if err != nil {
		return nil, nil, err // the part may still be at it
	}
	return key, ended, nil
}
