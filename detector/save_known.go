package detector

import (
	"slices"
	"unique"

	"github.com/fxamacker/cbor/v2"

	"github.com/ambit-nhi/ambit/event"
)

// What an inventory and other partitions said is saved last.

type savedDeclared struct {
	_             struct{} `cbor:",toarray"`
	ID            string
	Created, Gone int64
	Owner         string
	Version       uint64
}

// saveKnown writes it.
func (d *Detector) saveKnown(put func(any) error) error {
	for id, x := range d.declared {
		if err := put(&savedDeclared{ID: id.String(), Created: x.created, Gone: x.gone, Owner: x.owner, Version: x.version}); err != nil {
			return err
		}
	}
	var holders []sharedHolder
	for key, f := range d.elsewhere.holders.All() {
		holders = append(holders, sharedHolder{Key: key, Identity: f.identity.Value(), Node: f.node.Value(), Since: f.since, At: f.at})
	}
	for _, h := range slices.Backward(holders) { // the newest last, as they came
		if err := put(&h); err != nil {
			return err
		}
	}
	return nil
}

func (d *Detector) loadKnown(from *cbor.Decoder, head *savedHead) error {
	for range head.Declared {
		var s savedDeclared
		if err := from.Decode(&s); err != nil {
			return err
		}
		id, err := event.ParseIdentity(s.ID)
		if err != nil {
			return err
		}
		d.declared[id] = declared{s.Created, s.Gone, s.Owner, s.Version}
	}
	for range head.Foreign {
		var h sharedHolder
		if err := from.Decode(&h); err != nil {
			return err
		}
		d.elsewhere.holders.Put(h.Key, foreign{unique.Make(h.Identity), unique.Make(h.Node), h.Since, h.At})
	}
	for i, generation := range []*map[uint64]uint64{&d.elsewhere.young, &d.elsewhere.old} {
		if head.Elsewhere[i] != nil {
			*generation = head.Elsewhere[i]
		}
	}
	return nil
}
