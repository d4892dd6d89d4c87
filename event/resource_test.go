package event

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestResourceOf(t *testing.T) {
	td := domain(t, "shop.example")
	db := KubernetesIdentity(td, "shop", "db")
	certificate, err := ParseIdentity("x509://0123/CN=db")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("10.1.2.3")
	for name, tc := range map[string]struct {
		peer Peer
		tls  *TLS
		want string
		kind ResourceKind
	}{
		"identity wins": {Peer{Address: address, Name: "db", NameSource: NameDNS, Identity: db}, &TLS{Verified: true, SNI: "sni"}, "spiffe://shop.example/ns/shop/sa/db:443/tcp", ResourceIdentity},
		"certificate":   {Peer{Identity: certificate}, nil, "x509://0123/CN=db:443/tcp", ResourceX509},
		"verified SNI":  {Peer{Address: address, Name: "db", NameSource: NameDNS}, &TLS{Verified: true, SNI: "sni"}, "dns:sni:443/tcp", ResourceDNS},
		"claimed SNI":   {Peer{Address: address, Name: "db", NameSource: NameDNS}, &TLS{SNI: "sni"}, "dns:db:443/tcp", ResourceDNS},
		"service":       {Peer{Address: address, Name: "db.shop.svc", NameSource: NameService}, nil, "service:db.shop.svc:443/tcp", ResourceService},
		"address":       {Peer{Address: address}, nil, "net:10.1.2.3/32:443/tcp", ResourceNet},
		"mapped":        {Peer{Address: netip.MustParseAddr("::ffff:10.1.2.3")}, nil, "net:10.1.2.3/32:443/tcp", ResourceNet},
		"node":          {Peer{Address: address, Name: "n1", NameSource: NameNode}, nil, "node:n1:443/tcp", ResourceNode},
		"range":         {Peer{Address: address, Range: netip.MustParsePrefix("10.1.2.0/24")}, nil, "net:10.1.2.0/24:443/tcp", ResourceNet},
		"translated":    {Peer{Address: address, Dialled: netip.MustParseAddrPort("10.96.0.12:80")}, nil, "net:10.96.0.12/32:80/tcp", ResourceNet},
		"translated service": {Peer{Address: address, Dialled: netip.MustParseAddrPort("10.96.0.12:80"), Name: "db.shop.svc", NameSource: NameService}, nil,
			"service:db.shop.svc:80/tcp", ResourceService},
		"other range": {Peer{Address: address, Range: netip.MustParsePrefix("10.9.0.0/16")}, nil, "net:10.1.2.3/32:443/tcp", ResourceNet},
		"named range": {Peer{Address: address, Name: "db", NameSource: NameDNS, Range: netip.MustParsePrefix("10.1.2.0/24")}, nil, "dns:db:443/tcp", ResourceDNS},
		"zone":        {Peer{Address: netip.MustParseAddr("fe80::1%eth0")}, nil, "net:fe80::1/128:443/tcp", ResourceNet},
	} {
		t.Run(name, func(t *testing.T) {
			tc.peer.Port = 443
			r := ResourceOf(&Observation{Protocol: TCP, Peer: tc.peer, TLS: tc.tls})
			if r.String() != tc.want || r.Kind() != tc.kind || r.Protocol() != TCP || r.IsZero() {
				t.Errorf("got %s", r)
			}
		})
	}
	o := Observation{Protocol: UDP, Peer: Peer{Address: netip.MustParseAddr("::ffff:10.1.2.3"), Port: 53}}
	if n := testing.AllocsPerRun(100, func() { _ = ResourceOf(&o) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseResource(t *testing.T) {
	for text, want := range map[string]string{
		"dns:api.example.com:443/tcp":               "dns:api.example.com:443/tcp",
		"net:10.1.2.9/24:22/tcp":                    "net:10.1.2.0/24:22/tcp",
		"node:n1:10250/tcp":                         "node:n1:10250/tcp",
		"net:2001:db8::/32:53/udp":                  "net:2001:db8::/32:53/udp",
		"net:::ffff:10.1.2.3/128:1/tcp":             "net:10.1.2.3/32:1/tcp",
		"spiffe://shop.example/ns/shop/sa/db:1/tcp": "spiffe://shop.example/ns/shop/sa/db:1/tcp",
		"":                                 "! no port",
		"dns:a":                            "! port and protocol are not",
		"dns:a:99999/tcp":                  "! port and protocol are not",
		"dns:a:-1/tcp":                     "! port and protocol are not",
		"dns:a:1/sctp":                     "! protocol is neither tcp nor udp",
		"dns:a:1/":                         "! protocol is neither tcp nor udp",
		"dns::1/tcp":                       "! no name",
		"host:a:1/tcp":                     "! kind is not spiffe, x509, dns, service, node or net",
		":a:1/tcp":                         "! kind is not spiffe, x509, dns, service, node or net",
		"net:10.1.2.3:1/tcp":               "! no valid address range",
		"net:::ffff:10.1.2.3/64:1/tcp":     "! no valid address range",
		"spiffe://shop.example/../a:1/tcp": "! no valid identity",
	} {
		r, err := ParseResource(text)
		if fault, bad := strings.CutPrefix(want, "! "); bad {
			if err == nil || !strings.Contains(err.Error(), fault) || !r.IsZero() {
				t.Errorf("%q: got %s, %v, want %s", text, r, err, fault)
			}
		} else if err != nil || r.String() != want {
			t.Errorf("%q: got %s, %v", text, r, err)
		}
	}
}

// What an observation reaches is read back from its text.
func TestResourceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObservation(t, "n1", noon)
		r := ResourceOf(&o)
		back, err := ParseResource(r.String())
		if err != nil || back != r {
			t.Fatalf("%s came back as %s: %v", r, back, err)
		}
	})
}

// Two resources never share a text, since that is what is stored.
func TestResourcesNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawObservation(t, "n1", noon), drawObservation(t, "n1", noon)
		if ra, rb := ResourceOf(&a), ResourceOf(&b); (ra == rb) != (ra.String() == rb.String()) {
			t.Fatalf("%#v and %#v", ra, rb)
		}
	})
}

func FuzzParseResource(f *testing.F) {
	for _, s := range []string{"", "dns:api.example.com:443/tcp", "net:10.1.2.0/24:22/tcp", "net:::ffff:10.0.0.0/104:22/udp", "spiffe://a/b:1/tcp", "x509://h/s:1/tcp", "service:a:b:1/udp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseResource(s)
		if err != nil {
			if !r.IsZero() {
				t.Errorf("%q: a resource with the error %v", s, err)
			}
			return
		}
		back, err := ParseResource(r.String())
		if err != nil || back != r {
			t.Errorf("%q is %s and came back as %s: %v", s, r, back, err)
		}
	})
}
