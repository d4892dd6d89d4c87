package detector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fxamacker/cbor/v2"

	"github.com/ambit-nhi/ambit/event"
)

func saveFinding(f *event.Finding) ([]byte, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("save finding %s: %w", f.ID, err)
	}
	return data, nil
}

func (d *Detector) loadRest(from *cbor.Decoder, head *savedHead) error {
	for range head.Trust {
		var s savedTrust
		if err := from.Decode(&s); err != nil {
			return err
		}
		k := trustKey{identity: s.Identity, port: s.Port, name: s.Name}
		if s.Address != "" {
			var err error
			if k.address, err = netip.ParseAddr(s.Address); err != nil {
				return err
			}
		}
		t := trust{level: trustLevel(s.Level), times: s.Times, version: s.Version, since: s.Since}
		if s.Peer != "" {
			var err error
			if t.peer, err = event.ParseIdentity(s.Peer); err != nil {
				return err
			}
		}
		d.trust[k] = t
	}
	for range head.Holders {
		var s savedHolder
		if err := from.Decode(&s); err != nil {
			return err
		}
		if int(s.Identity) >= len(d.identities) {
			return errors.New("a certificate refers to nobody")
		}
		d.holders.where.Put(s.SHA, presented{s.Node, s.Identity, s.At, s.Since, s.Told})
	}
	for range head.Findings {
		var s savedFinding
		if err := from.Decode(&s); err != nil {
			return err
		}
		r := ruleNamed(s.Rule)
		if r == nil || int(s.Identity) >= len(d.identities) {
			return errors.New("a finding refers to nothing")
		}
		var f event.Finding
		if err := json.Unmarshal(s.Finding, &f); err != nil {
			return err
		}
		k := findingKey{edgeKey{s.Identity, s.Resource}, r}
		d.findings.open[k] = &openFinding{finding: f, given: s.Given, changed: s.Changed, recount: s.Recount}
		d.findings.order = append(d.findings.order, k)
	}
	return nil
}
