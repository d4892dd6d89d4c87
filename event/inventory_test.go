package event

import (
	"strings"
	"testing"
	"time"
)

func TestDeclarationValidate(t *testing.T) {
	good := func() Declaration {
		id, err := ParseIdentity("spiffe://shop.example/ns/shop/sa/checkout")
		if err != nil {
			t.Fatal(err)
		}
		return Declaration{Identity: id, Source: SourceCSV, SourceName: "list", Owner: "team shop", Domain: DomainService, Privilege: PrivilegeLow,
			Tokens: []TokenKind{TokenBound}, Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Labels: map[string]string{"app": "checkout"}}
	}
	f := func(want string, change func(d *Declaration)) {
		t.Helper()
		d := good()
		change(&d)
		err := d.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	}
	f("", func(d *Declaration) {})
	f("identity: is missing", func(d *Declaration) { d.Identity = Identity{} })
	f("source: ", func(d *Declaration) { d.Source = "cmdb" })
	f("source_name: is missing", func(d *Declaration) { d.SourceName = "" })
	f("owner: is 1025 bytes long", func(d *Declaration) { d.Owner = strings.Repeat("x", 1025) })
	f("purpose: is not UTF-8", func(d *Declaration) { d.Purpose = "\xff" })
	f("environment: holds a control character", func(d *Declaration) { d.Environment = "prod\nprod" })
	f("domain: ", func(d *Declaration) { d.Domain = "robots" })
	f("privilege: ", func(d *Declaration) { d.Privilege = "god" })
	f("privilege_reasons: ", func(d *Declaration) { d.PrivilegeReasons = []string{"\x00"} })
	f("tokens: ", func(d *Declaration) { d.Tokens = []TokenKind{"cookie"} })
	f("labels: a key is empty", func(d *Declaration) { d.Labels = map[string]string{"": "x"} })
	f("annotations: a: holds", func(d *Declaration) { d.Annotations = map[string]string{"a": "\x1b"} })
	f("created: ", func(d *Declaration) { d.Created = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) })
	f("expires: ", func(d *Declaration) { d.Expires = time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC) })
}

func TestPrivilegeRank(t *testing.T) {
	for i, p := range Privileges {
		if p.Rank() != i+1 {
			t.Errorf("%s has rank %d", p, p.Rank())
		}
	}
	if Privilege("").Rank() != 0 || Privilege("x").Rank() != 0 {
		t.Error("an unknown privilege has a rank")
	}
}
