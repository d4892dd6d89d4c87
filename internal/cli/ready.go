package cli

import (
	"context"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/natsauth"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// live is a collector with all that it needs to work.
type live struct {
	*collector.Collector
	watch    *collector.Watch
	store    *store.Store
	svid     *svid.Source      // nil without one
	natsAuth *natsauth.Service // likewise
	folder   string            // of all files

	mu     sync.Mutex // of the two below
	asked  time.Time
	answer []health.Check
}

// Bounds of asking.
const (
	healthTime = 3 * time.Second // for all answers together
	healthAge  = time.Second     // for so long an answer is given again: everybody on this machine may ask
)

// Health implements [api.Live].
func (l *live) Health(ctx context.Context) []health.Check {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.asked) < healthAge {
		return l.answer
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	checks := append(l.watch.Checks(ctx), health.Of("store", l.store.Ping(ctx)), health.Of("collector", l.Ready(ctx)), l.Division(), health.Disk(l.folder))
	checks = append(checks, l.optional()...)
	if ctx.Err() == nil { // else some of it only says that whoever asked went away
		l.asked, l.answer = time.Now(), checks
	}
	return checks
}

// optional are the checks of what not every collector has.
func (l *live) optional() (checks []health.Check) {
	if l.natsAuth != nil {
		checks = append(checks, health.Of("nats-auth", l.natsAuth.Ready()))
	}
	if l.svid != nil {
		checks = append(checks, certificateCheck(l.svid))
	}
	return checks
}

// certificateCheck is a warning while the certificate is valid, but not renewed when it should be.
func certificateCheck(source *svid.Source) health.Check {
	c := health.Of("certificate", source.Ready())
	if c.State == health.OK && source.Missing() != nil {
		return health.Warn(c.Name, "%s", source.Status())
	}
	return c
}
