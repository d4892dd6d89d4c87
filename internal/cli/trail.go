package cli

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/audit"
)

// startAudit starts the log of who does what.
func (u *up) startAudit(ctx context.Context) (*audit.Log, error) {
	trail := audit.New(u.store)
	err := u.parts.start(ctx, "audit", func(ctx context.Context, ready func(string)) error {
		nc, err := u.bus.Connect("ambit audit")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		js, err := jetstream.New(nc)
		if err != nil {
			return fmt.Errorf("use JetStream: %w", err)
		}
		return trail.Run(ctx, js, u.log, func() { ready("trail of changes") })
	})
	return trail, err
}
