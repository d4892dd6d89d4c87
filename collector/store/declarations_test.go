package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// Texts come out of their packing as they went in, whatever they hold.
func TestUnpack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.String()).Draw(t, "texts")
		var packed strings.Builder
		for _, s := range texts {
			fmt.Fprintf(&packed, "%d:%s", len(s), s)
		}
		if got := unpack(packed.String()); !slices.Equal(got, texts) {
			t.Fatalf("%q, want %q", got, texts)
		}
	})
	for _, broken := range []string{"x", "5:abc", "-1:a", ":", "1", "99999999999999999999:a"} {
		if got := unpack(broken); len(got) != 0 {
			t.Errorf("%q gives %q", broken, got)
		}
	}
}

// What is declared is read as it was written, with hostile texts in it.
func TestDeclarationsPacked(t *testing.T) {
	s := open(t)
	in := Inventory{Source: event.SourceJSON, Name: "list", Time: noon, Declarations: []event.Declaration{{
		Identity: identity(t, checkout), Source: event.SourceJSON, SourceName: "list", PrivilegeReasons: []string{"a", "b: c", "é"}, Tokens: []event.TokenKind{event.TokenSecret},
		Privilege: event.PrivilegeHigh, Labels: map[string]string{"ambit.dev/owner": "1:x", "other": "y"}, Annotations: map[string]string{"k": "v", "ambit.dev/purpose": "3:abc7:"},
	}}}
	if _, err := s.ReplaceInventory(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for _, pairs := range []bool{false, true} {
		var got []event.Declaration
		if err := s.Declarations(t.Context(), nil, pairs, func(d *event.Declaration) error { got = append(got, *d); return nil }); err != nil {
			t.Fatal(err)
		}
		want := in.Declarations[0]
		labels, annotations := maps.Clone(want.Labels), maps.Clone(want.Annotations)
		if !pairs {
			delete(labels, "other")
			delete(annotations, "k")
		}
		if len(got) != 1 || !maps.Equal(got[0].Labels, labels) || !maps.Equal(got[0].Annotations, annotations) ||
			!slices.Equal(got[0].PrivilegeReasons, want.PrivilegeReasons) || !slices.Equal(got[0].Tokens, want.Tokens) {
			t.Errorf("with all pairs %v: %+v", pairs, got)
		}
	}
}
