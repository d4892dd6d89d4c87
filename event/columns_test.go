package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func uvarints(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// What columns may hold is refused where it stands for nothing, and never makes anything larger than a message may.
func TestDecodeRefusesColumns(t *testing.T) {
	good := func() wireBatch {
		return wireBatch{
			Version: batchVersion, Node: "n1", Boot: "b", Started: noon.Add(-time.Hour).UnixNano(), Time: noon.UnixNano(),
			Workloads: []Workload{{Identity: UnitIdentity(domain(t, "shop.example"), "n1", "a")}}, Templates: []Peer{{Name: "a"}}, TLS: []TLS{{}},
			Columns: columns{
				Peers: 2, Template: uvarints(0, 1), Family: uvarints(0, 4), Address: []byte{192, 0, 2, 1},
				Records: 2, Peer: uvarints(0, 0), TLS: uvarints(1, 0), Flags: uvarints(0, 3), First: uvarints(5, 1), Age: uvarints(2, 1), Connections: uvarints(7, 1<<40),
				Error: uvarints(0, 1), Errors: []string{"refused"},
			},
		}
	}
	f := func(name string, want error, spoil func(c *columns)) {
		t.Helper()
		w := good()
		spoil(&w.Columns)
		message, err := pack(&w)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := DecodeBatch(message); !errors.Is(err, want) {
			t.Errorf("%s: got %+v, %v, want %v", name, b, err, want)
		}
	}
	f("good", nil, func(*columns) {})
	f("one left out", nil, func(c *columns) { c.Workload, c.Failed = uvarints(0, 0), nil })
	f("unknown template", ErrMalformed, func(c *columns) { c.Template = uvarints(0, 0) })
	f("template before the first", ErrMalformed, func(c *columns) { c.Template = uvarints(0, 2) })
	f("template far before", ErrMalformed, func(c *columns) { c.Template = uvarints(0, 1<<32+1) })
	f("unknown family", ErrMalformed, func(c *columns) { c.Family = uvarints(0, 5) })
	f("short address", ErrMalformed, func(c *columns) { c.Address = []byte{1, 2, 3} })
	f("long address", ErrMalformed, func(c *columns) { c.Address = make([]byte, 5) })
	f("very many peers", ErrMalformed, func(c *columns) { c.Peers = maxTable + 1 })
	f("very many records", ErrMalformed, func(c *columns) { c.Records = maxTable + 1 })
	f("short column", ErrMalformed, func(c *columns) { c.First = uvarints(5) })
	f("long column", ErrMalformed, func(c *columns) { c.First = uvarints(5, 1, 1) })
	f("column that ends within a number", ErrMalformed, func(c *columns) { c.Connections = []byte{7, 0x80} })
	f("number of more than 64 bits", ErrMalformed, func(c *columns) {
		c.Connections = append(uvarints(7), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	})
	f("workload of more than 32 bits", ErrMalformed, func(c *columns) { c.Workload = uvarints(0, 1<<32) })
	f("no workload", ErrMalformed, func(c *columns) { c.Workload = uvarints(0, 1) })
	f("no peer", ErrMalformed, func(c *columns) { c.Peers, c.Template, c.Family, c.Address = 1, nil, nil, nil })
	f("peer before the first", ErrMalformed, func(c *columns) { c.Peer = uvarints(0, 2) })
	f("no TLS", ErrMalformed, func(c *columns) { c.TLS = uvarints(2, 0) })
	f("no error", ErrMalformed, func(c *columns) { c.Error = uvarints(0, 2) })
	f("first before all", ErrMalformed, func(c *columns) { c.First = uvarints(5, uint64(noon.UnixMilli())) })
	f("first whose nanoseconds wrap", ErrMalformed, func(c *columns) { c.First = uvarints(5, 1<<63/1_000_000*2) })
	f("first after last", ErrMalformed, func(c *columns) { c.First = uvarints(1, 1) })
	f("count", ErrMalformed, func(c *columns) { c.Connections = uvarints(7, maxCount+1) })
}

// Entries whose hints are the same are told apart all the same.
func TestBuilderTellsLikesApart(t *testing.T) {
	b := NewBatchBuilder("n1", "boot", noon.Add(-time.Hour))
	var want []Observation
	for i := range 5 {
		o := Observation{
			Time: noon, FirstTime: noon, Node: "n1", Direction: Outbound, Protocol: TCP,
			Workload: Workload{Identity: UnitIdentity(domain(t, "shop.example"), "n1", "a"), Executable: "/a", Cgroup: fmt.Sprint(i / 2)},
			Peer:     Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: 443, Name: "a.example", Identity: KubernetesIdentity(domain(t, "shop.example"), "shop", fmt.Sprint(i/3))},
			TLS:      &TLS{SNI: "a.example", ALPN: fmt.Sprint(i / 4), PeerCertificate: &Certificate{SHA256: "00", Serial: fmt.Sprint(i / 2), Proven: i > 3}},
		}
		want = append(want, o)
		b.Add(&o)
	}
	b.Add(&want[1])
	message, err := b.Encode(1, 1, noon)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(message)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Workloads) != 3 || len(got.peers) != 2 || len(got.tls) != 3 {
		t.Errorf("%d workloads, %d peers, %d TLS; want 3, 2, 3", len(got.Workloads), len(got.peers), len(got.tls))
	}
	i := 0
	for o := range got.Observations() {
		w := want[i%len(want)]
		if i == len(want) {
			w = want[1]
		}
		if o.Workload != w.Workload || o.Peer != w.Peer || o.TLS.ALPN != w.TLS.ALPN || *o.TLS.PeerCertificate != *w.TLS.PeerCertificate {
			t.Errorf("observation %d is %+v, want %+v", i, *o, w)
		}
		i++
	}
}
