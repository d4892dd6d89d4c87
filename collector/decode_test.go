package collector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func FuzzDecode(f *testing.F) {
	b := event.NewBatchBuilder("n1.example", "boot", epoch)
	b.Sight(&busy)
	batch, err := b.Encode(1, 1, epoch.Add(time.Second))
	if err != nil {
		f.Fatal(err)
	}
	h := event.Heartbeat{Node: "n1.example", Boot: "boot", Started: epoch, Time: epoch.Add(time.Second)}
	beat, err := h.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(event.ObservationSubject(3, "n1.example"), batch)
	f.Add(event.AgentSubject("n1.example"), beat)
	f.Add(event.AgentSubject("n1.example"), batch)
	f.Add("ambit.v1.obs.0.n1", []byte{})
	f.Add("", []byte("x"))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		c, refused := decode(subject, data, epoch, time.Hour, event.DefaultPartitions)
		given := 0
		if b := c.batch; b != nil {
			given++
			newGroup().addBatch(b, 1, 0, nil)
			for o := range b.Observations() {
				if _, rest, _ := strings.Cut(subject, "obs."); !strings.HasPrefix(rest, fmt.Sprint(event.Partition(o.Workload.Identity, event.DefaultPartitions), ".")) {
					t.Errorf("%s is taken from subject %s", o.Workload.Identity, subject)
				}
				if o.Workload.Identity.Foreign(b.Node) || epoch.Sub(o.First()) > time.Hour {
					t.Errorf("%s of %s is taken from node %s", o.Workload.Identity, o.First(), b.Node)
				}
			}
		}
		if c.heartbeat != nil {
			given++
			newGroup().addHeartbeat(c.heartbeat)
		}
		if refused != nil {
			given++
			switch refused.cause {
			case causeMalformed, causeTooLarge, causeVersion, causeNode, causeSubject, causeClock:
			default:
				t.Errorf("cause %q is not one of the known", refused.cause)
			}
		}
		if given != 1 {
			t.Errorf("%d of batch, heartbeat and refusal", given)
		}
	})
}
