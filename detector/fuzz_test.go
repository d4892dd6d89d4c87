package detector

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Whatever observations say, whenever they say it, and whatever people decide about what is found: nothing panics, findings can be written, and their
// verdicts find them again.
func FuzzObserve(f *testing.F) {
	for _, at := range []time.Time{epoch, epoch.Add(time.Hour), epoch.AddDate(50, 0, 0), time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)} {
		o := outbound("shop/cart", at, "a.example", 3)
		o.TLS = &event.TLS{Version: "1.3", Mutual: true, Verified: true, Provenance: "full", OwnCertificate: &event.Certificate{SHA256: "00", NotBefore: at, NotAfter: at.AddDate(5, 0, 0)}}
		line, err := json.Marshal(&o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(append(line, '\n'), line...), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		c := onceActive()
		c.Learn, c.AllFindingsPerMinute, c.FindingsPerMinute = time.Millisecond, 3, 2
		d := New(c)
		d.Cover("n0", "boot", epoch.Add(-time.Hour), epoch)
		kinds := event.VerdictKinds()
		for line := range bytes.Lines(data) {
			o, err := event.ParseObservation(line)
			if err != nil {
				continue
			}
			d.Scope(o.Workload.Identity, event.Scope{Identity: o.Workload.Identity, Version: uint64(kind), Entries: []event.ScopeEntry{{Resource: "dns:*.example.com:443/tcp"}}, ApprovedBy: "kim"})
			d.Cover(o.Node, "boot", o.First(), o.Time)
			for _, found := range d.Observe(&o, nil) {
				if _, err := json.Marshal(&found); err != nil {
					t.Fatal(err)
				}
				v := event.Verdict{
					Finding: found.ID, Rule: found.Rule, Identity: found.Identity, Resource: found.Resource, Kind: kinds[int(kind)%len(kinds)],
					By: "kim", Reason: "a test", At: found.LastTime, Until: found.LastTime.Add(time.Hour),
				}
				if v.Kind != event.VerdictSuppress && v.Kind != event.VerdictApprove {
					v.Until = time.Time{}
				}
				if err := v.Validate(); err != nil {
					t.Fatalf("%+v: %v", found, err)
				}
				d.Judge(&v, nil)
			}
			d.Pending(nil)
			d.Progress(o.Workload.Identity)
		}
		var saved bytes.Buffer
		if err := d.Save(&saved); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(&saved, c); err != nil {
			t.Fatal(err)
		}
	})
}
