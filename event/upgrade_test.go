package event

import (
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// While a cluster is upgraded, agents and collectors of two versions talk to each other. What one does not know yet does not take away what it knows.
func TestOtherVersionsAreUnderstood(t *testing.T) {
	b, o := fullBatch(t)
	message, err := b.Encode(7, 7, o.Time)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := theCodec().unzip.DecodeAll(message, nil)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[uint64]any // by field number
	if err := theCodec().decode.Unmarshal(plain, &whole); err != nil {
		t.Fatal(err)
	}
	var add func(v any) // a field to each map
	add = func(v any) {
		switch v := v.(type) {
		case map[any]any:
			for _, x := range v {
				add(x)
			}
			v[uint64(900)] = []any{"of a later version"}
		case []any:
			for _, x := range v {
				add(x)
			}
		}
	}
	decode := func() *Batch {
		t.Helper()
		encoder, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			t.Fatal(err)
		}
		data, err := encoder.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBatch(theCodec().zip.EncodeAll(data, nil))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, x := range whole {
		add(x)
	}
	whole[900] = "of a later version"
	n := 0
	for got := range decode().Observations() {
		if got.Protocol != o.Protocol {
			continue
		}
		n++
		if got.TLS == nil || got.TLS.SNI != o.TLS.SNI {
			t.Errorf("of a later version, %+v is taken as %+v", o.TLS, got.TLS)
		}
	}
	if n != 1 {
		t.Fatalf("%d observations with TLS, want 1", n)
	}
	for _, x := range whole[9].([]any) { // certificates as agents told them before they said whether these prove anything
		for _, c := range []uint64{7, 8} {
			delete(x.(map[any]any)[c].(map[any]any), uint64(6))
		}
	}
	for got := range decode().Observations() {
		if got.Protocol != o.Protocol {
			continue
		}
		if c := got.TLS.PeerCertificate; c == nil || c.Proven || c.SHA256 != o.TLS.PeerCertificate.SHA256 {
			t.Errorf("of an earlier version: %+v", c)
		}
	}
}
