package detector

import (
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Declare notes what an inventory says of an identity: since when it should exist, and since when it should not any more; zero times are not known.
func (d *Detector) Declare(id event.Identity, created, gone time.Time) {
	who, ok := d.identity(id)
	if !ok {
		return
	}
	p := &d.identities[who].profile
	p.created, p.gone = micros(created), micros(gone)
}
