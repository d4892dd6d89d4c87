package decision

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// SetClock gives a service another clock.
func (s *Service) SetClock(now func() time.Time) { s.clock.Store(&now) }

// Token makes the token of a CAEP point.
func (c *CAEP) Token(d *event.Decision) (string, error) { return c.token(d) }
