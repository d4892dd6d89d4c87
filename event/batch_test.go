package event

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares with a file of hexadecimal CBOR, since that is the promise; the compression may change.
func golden(t *testing.T, name string, message []byte) {
	t.Helper()
	plain, err := theCodec().unzip.DecodeAll(message, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := hex.Dump(plain)
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the form on the wire changed (-update accepts that)\n got\n%s\nwant\n%s", got, want)
	}
}

func fullBatch(t testing.TB) (*BatchBuilder, Observation) {
	t.Helper()
	o, err := ParseObservation([]byte(fullObservation))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBatchBuilder("n1", "boot-1", o.Time.Add(-time.Hour))
	b.Add(&o)
	other := Observation{
		Time: o.Time, Node: "n1", Workload: Workload{Identity: UnitIdentity(domain(t, "shop.example"), "n1", "cron.service"), Evidence: EvidenceSystemd},
		Direction: Inbound, Protocol: UDP, Peer: Peer{Address: netip.MustParseAddr("2001:db8::1"), Port: 53},
	}
	b.Add(&other)
	b.Sight(&Workload{Identity: KubernetesIdentity(domain(t, "shop.example"), "shop", "idle"), Evidence: EvidenceKubernetes})
	return b, o
}

func TestBatchWire(t *testing.T) {
	b, o := fullBatch(t)
	message, err := b.Encode(7, 7, o.Time.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "batch.golden", message)
	got, err := DecodeBatch(message)
	if err != nil {
		t.Fatal(err)
	}
	if got.Node != "n1" || got.Boot != "boot-1" || got.Sequence != 7 || !got.Started.Equal(o.Time.Add(-time.Hour)) || !got.Time.Equal(o.Time.Add(time.Second)) {
		t.Errorf("header %+v", got)
	}
	if got.Len() != 2 || len(got.Workloads) != 3 || got.Workloads[2].Identity.String() != "spiffe://shop.example/ns/shop/sa/idle" {
		t.Errorf("%d observations, workloads %+v", got.Len(), got.Workloads)
	}
	for first := range got.Observations() {
		if !reflect.DeepEqual(*first, o) {
			t.Errorf(" got %+v\nwant %+v", *first, o)
		}
		break
	}
}

// A message of the first version is read forever.
func TestDecodeGoldenBatch(t *testing.T) {
	dump, err := os.ReadFile("testdata/batch.v1.golden")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(theCodec().zip.EncodeAll(undump(t, string(dump)), nil))
	if err != nil {
		t.Fatal(err)
	}
	b, o := fullBatch(t)
	message, err := b.Encode(7, 7, o.Time.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want, err := DecodeBatch(message)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("of version 1 %+v\nof version %d %+v", got, batchVersion, want)
	}
}

// undump reads what hex.Dump writes.
func undump(t *testing.T, dump string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(dump) {
		line, _, _ = strings.Cut(line, "|")
		for _, field := range strings.Fields(line)[1:] {
			b, err := hex.DecodeString(field)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b...)
		}
	}
	return out
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		node := drawName(t, "node")
		b := NewBatchBuilder(node, "boot", noon.Add(-time.Hour))
		var want []Observation
		for range rapid.IntRange(0, 5).Draw(t, "observations") {
			o := drawObservation(t, node, noon)
			b.Add(&o)
			o.FirstTime = noon.Add(-noon.Sub(o.First()).Truncate(time.Millisecond)) // always said on the wire
			o.Time = noon.Add(-noon.Sub(o.Time).Truncate(time.Millisecond))
			want = append(want, o)
		}
		idle := drawWorkload(t)
		index := b.Sight(&idle)
		if again := b.Sight(&idle); again != index {
			t.Fatalf("sighted as %d and %d", index, again)
		}
		message, err := b.Encode(1, 1, noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBatch(message)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for o := range got.Observations() {
			if !reflect.DeepEqual(*o, want[i]) {
				t.Fatalf("\n got %+v\nwant %+v", *o, want[i])
			}
			i++
		}
		if i != len(want) || got.Workloads[index] != idle {
			t.Fatalf("%d of %d observations; %+v", i, len(want), got.Workloads)
		}
		again, err := b.Encode(1, 1, noon)
		if err != nil || !bytes.Equal(again, message) {
			t.Fatalf("encoding again differs: %v", err)
		}
		if b.Reset(); !b.Empty() {
			t.Fatal("not empty after Reset")
		}
	})
}

// A builder that is not full takes one more observation, of whatever compresses worst, and still fits in a message.
func TestFullBatchFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('!' + random.IntN(94))
		}
		return string(b)
	}
	td := domain(t, "shop.example")
	for name, make := range map[string]func(i int) Observation{
		"small": func(i int) Observation {
			return Observation{Workload: Workload{Identity: UnitIdentity(td, "n1", "a")}, Peer: Peer{Address: netip.AddrFrom16(address16(random)), Port: uint16(i)},
				Counts: Counts{random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount)}}
		},
		"long names again and again": func(i int) Observation {
			return Observation{
				Workload: Workload{Identity: UnitIdentity(td, "n1", "a"), Executable: strings.Repeat("e", maxText), Cgroup: strings.Repeat("c", maxText)},
				Peer:     Peer{Name: strings.Repeat("p", 255), Port: 443},
			}
		},
		"all different": func(i int) Observation {
			c := func() *Certificate {
				return &Certificate{SHA256: noise(64), Serial: noise(40), Issuer: noise(200), NotBefore: noon, NotAfter: noon}
			}
			return Observation{
				Workload: Workload{
					Identity: CgroupIdentity(td, "n1", noise(900)), Evidence: EvidenceWorkloadAPI, Namespace: noise(63), Pod: noise(253), Container: noise(63), Image: noise(500),
					ServiceAccount: noise(253), Owner: noise(300), Unit: noise(255), Executable: noise(4095), Interactive: true, Cgroup: noise(4095), UID: 1 << 31,
				},
				Direction: Inbound, Protocol: UDP,
				Peer: Peer{Address: netip.AddrFrom16(address16(random)), Port: 65535, Dialled: netip.AddrPortFrom(netip.AddrFrom16(address16(random)), 65535), Name: noise(255),
					NameSource: NameService, Identity: CgroupIdentity(td, "n1", noise(900)), Evidence: EvidenceWorkloadAPI},
				TLS:    &TLS{Version: "1.3", SNI: noise(255), ALPN: noise(255), Mutual: true, Verified: true, Provenance: "wire-only", PeerCertificate: c(), OwnCertificate: c()},
				Counts: Counts{random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount), random.Uint64N(maxCount)}, Error: "unreachable",
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBatchBuilder(strings.Repeat("n", 253), strings.Repeat("b", 36), noon.Add(-time.Hour))
			n := 0
			for ; !b.Full(); n++ {
				o := make(n)
				o.Time, o.FirstTime = noon, noon.Add(-time.Hour)
				b.Add(&o)
			}
			message, err := b.Encode(1, 1, noon.Add(time.Hour))
			if err != nil {
				t.Fatalf("%d observations: %v", n, err)
			}
			if _, err := DecodeBatch(message); err != nil {
				t.Error(err)
			}
			t.Logf("%d observations in %d bytes, estimated %d", n, len(message), b.size)
		})
	}
}

func address16(r *rand.Rand) (b [16]byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestDecodeBatchRefuses(t *testing.T) {
	td := domain(t, "shop.example")
	good := func() wireBatch {
		return wireBatch{
			Version: 1, Node: "n1", Boot: "b", Started: noon.UnixNano() - 1, Time: noon.UnixNano(),
			Workloads: []Workload{{Identity: UnitIdentity(td, "n1", "a")}}, Peers: []Peer{{Name: "a"}}, TLS: []TLS{{}}, Records: []record{{TLS: 1}},
		}
	}
	if w := good(); w.check() != nil {
		t.Fatal(w.check())
	}
	for name, tc := range map[string]struct {
		spoil func(*wireBatch)
		want  error
	}{
		"version":          {func(w *wireBatch) { w.Version = batchVersion + 1 }, ErrVersion},
		"version 0":        {func(w *wireBatch) { w.Version = 0 }, ErrVersion},
		"no node":          {func(w *wireBatch) { w.Node = "" }, ErrMalformed},
		"no boot":          {func(w *wireBatch) { w.Boot = "" }, ErrMalformed},
		"long ago":         {func(w *wireBatch) { w.Time, w.Started = 0, 0 }, ErrMalformed},
		"far ahead":        {func(w *wireBatch) { w.Time = 1<<63 - 1 }, ErrMalformed},
		"ends too early":   {func(w *wireBatch) { w.Started = w.Time + 1 }, ErrMalformed},
		"no identity":      {func(w *wireBatch) { w.Workloads[0].Identity = Identity{} }, ErrMalformed},
		"invalid identity": {func(w *wireBatch) { w.Workloads[0].Identity = Identity{"spiffe://a/../b"} }, ErrMalformed},
		"no workload":      {func(w *wireBatch) { w.Records[0].Workload = 1 }, ErrMalformed},
		"no peer":          {func(w *wireBatch) { w.Records[0].Peer = 1 }, ErrMalformed},
		"no TLS":           {func(w *wireBatch) { w.Records[0].TLS = 2 }, ErrMalformed},
		"nameless peer":    {func(w *wireBatch) { w.Peers[0].Name = "" }, ErrMalformed},
		"negative age":     {func(w *wireBatch) { w.Records[0].Age = -1 }, ErrMalformed},
		"first after last": {func(w *wireBatch) { w.Records[0].Age = 1 }, ErrMalformed},
		"first before all": {func(w *wireBatch) { w.Records[0].First = w.Time }, ErrMalformed},
		"certificate": {func(w *wireBatch) {
			w.TLS[0].PeerCertificate = &Certificate{NotAfter: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}
		}, ErrMalformed},
		"long node":       {func(w *wireBatch) { w.Node = strings.Repeat("n", maxNode+1) }, ErrMalformed},
		"long boot":       {func(w *wireBatch) { w.Boot = strings.Repeat("b", maxBoot+1) }, ErrMalformed},
		"long executable": {func(w *wireBatch) { w.Workloads[0].Executable = strings.Repeat("e", maxText+1) }, ErrMalformed},
		"long peer name":  {func(w *wireBatch) { w.Peers[0].Name = strings.Repeat("n", maxText+1) }, ErrMalformed},
		"long SNI":        {func(w *wireBatch) { w.TLS[0].SNI = strings.Repeat("s", maxText+1) }, ErrMalformed},
		"long issuer":     {func(w *wireBatch) { w.TLS[0].OwnCertificate = &Certificate{Issuer: strings.Repeat("i", maxText+1)} }, ErrMalformed},
		"long error":      {func(w *wireBatch) { w.Records[0].Error = strings.Repeat("e", maxText+1) }, ErrMalformed},
		"written out": {func(w *wireBatch) {
			w.Workloads[0].Executable, w.Peers[0].Name = strings.Repeat("e", maxText), strings.Repeat("n", maxText)
			w.Records = make([]record, maxWritten/(2*maxText)+1)
		}, ErrTooLarge},
		"invalid UTF-8":    {func(w *wireBatch) { w.Workloads[0].Pod = "\xff" }, ErrMalformed},
		"too many records": {func(w *wireBatch) { w.Records = make([]record, maxTable+1) }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := good()
			tc.spoil(&w)
			message, err := pack(&w)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := DecodeBatch(message); !errors.Is(err, tc.want) {
				t.Errorf("got %+v, %v", b, err)
			}
		})
	}
}

// Messages that were made to cost more than they weigh.
func TestDecodeRefusesBombs(t *testing.T) {
	level, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { level.Close() })
	zeros := level.EncodeAll(make([]byte, 64<<20), nil)
	if len(zeros) > MaxMessageBytes {
		t.Fatalf("%d bytes are no bomb", len(zeros))
	}
	var stream bytes.Buffer // without its size in the header
	unsized, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := unsized.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unsized.Close(); err != nil {
		t.Fatal(err)
	}
	cbor := func(b []byte) []byte { return theCodec().zip.EncodeAll(b, nil) }
	for name, tc := range map[string]struct {
		message []byte
		want    error
	}{
		"zeros":               {zeros, ErrTooLarge},
		"zeros of any length": {stream.Bytes(), ErrTooLarge},
		"many frames":         {bytes.Repeat(cbor(make([]byte, 1<<20)), 100), ErrTooLarge},
		"too long":            {make([]byte, MaxMessageBytes+1), ErrTooLarge},
		"no zstd":             {[]byte("hello"), ErrMalformed},
		"empty":               {nil, ErrMalformed},
		"empty frame":         {cbor(nil), ErrMalformed},
		"deep arrays":         {cbor(bytes.Repeat([]byte{0x81}, 1<<20)), ErrMalformed},
		"deep maps":           {cbor(bytes.Repeat([]byte{0xa1, 0x0a}, 1<<19)), ErrMalformed},
		"indefinite":          {cbor([]byte{0xbf, 0x01, 0x01, 0xff}), ErrMalformed},
		"tag":                 {cbor([]byte{0xa1, 0x02, 0xc0, 0x61, 'a'}), ErrMalformed},
		"key twice":           {cbor([]byte{0xa2, 0x01, 0x01, 0x01, 0x01}), ErrMalformed},
		"huge array":          {cbor([]byte{0xa1, 0x0a, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), ErrMalformed},
		"array of 2^31":       {cbor([]byte{0xa1, 0x0a, 0x9a, 0x7f, 0xff, 0xff, 0xff}), ErrMalformed},
		"two values":          {cbor([]byte{0xa0, 0xa0}), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeBatch(tc.message); !errors.Is(err, tc.want) {
				t.Errorf("batch: %.200v", err)
			}
			if _, err := DecodeHeartbeat(tc.message); !errors.Is(err, tc.want) {
				t.Errorf("heartbeat: %.200v", err)
			}
		})
	}
}

func TestDecodeRefusesCountsThatWrap(t *testing.T) {
	o := Observation{
		Time: noon, Workload: Workload{Identity: KubernetesIdentity(domain(t, "shop.example"), "a", "b")}, Direction: Outbound, Protocol: TCP,
		Peer: Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: 1},
	}
	f := func(want error, c Counts) {
		t.Helper()
		o.Counts = c
		b := NewBatchBuilder("n1", "boot", noon)
		b.Add(&o)
		message, err := b.Encode(1, 1, noon)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeBatch(message); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", c, err, want)
		}
	}
	f(nil, Counts{maxCount, maxCount, maxCount, maxCount, maxCount})
	f(ErrMalformed, Counts{Connections: maxCount + 1})
	f(ErrMalformed, Counts{Failed: maxCount + 1})
	f(ErrMalformed, Counts{Denied: maxCount + 1})
	f(ErrMalformed, Counts{BytesSent: maxCount + 1})
	f(ErrMalformed, Counts{BytesReceived: 1<<64 - 1})
}

func TestDrop(t *testing.T) {
	td := domain(t, "shop.example")
	decoded := func() *Batch {
		builder := NewBatchBuilder("n1", "boot", noon)
		for i := range 6 {
			w := Workload{Identity: KubernetesIdentity(td, "a", fmt.Sprint(i))}
			builder.Sight(&w)
			for j := range i {
				builder.Add(&Observation{
					Time: noon, FirstTime: noon.Add(-time.Duration(j) * time.Minute), Workload: w, Direction: Outbound, Protocol: TCP,
					Peer: Peer{Address: netip.MustParseAddr("192.0.2.1"), Port: uint16(i)},
				})
			}
		}
		message, err := builder.Encode(1, 1, noon)
		if err != nil {
			t.Fatal(err)
		}
		b, err := DecodeBatch(message)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for mask := range 1 << 6 { // every choice of workloads
		b := decoded()
		observations, left := 0, []string{}
		for i := range 6 {
			if mask>>i&1 == 1 {
				observations += i
			} else {
				left = append(left, b.Workloads[i].Identity.String())
			}
		}
		i := -1
		gone, goneObservations := b.DropWorkloads(func(*Workload) bool { i++; return mask>>i&1 == 1 })
		if gone != 6-len(left) || goneObservations != observations || len(b.Workloads) != len(left) || b.Len() != 15-observations {
			t.Fatalf("mask %06b: %d workloads and %d observations are gone, %d and %d left", mask, gone, goneObservations, len(b.Workloads), b.Len())
		}
		for i := range left {
			if b.Workloads[i].Identity.String() != left[i] {
				t.Errorf("mask %06b: workload %d is %s", mask, i, b.Workloads[i].Identity)
			}
		}
		for o := range b.Observations() {
			if want := KubernetesIdentity(td, "a", fmt.Sprint(o.Peer.Port)); o.Workload.Identity != want {
				t.Errorf("mask %06b: an observation of %s is given to %s", mask, want, o.Workload.Identity)
			}
		}
	}
	b := decoded()
	if n := b.DropBefore(noon.Add(-2 * time.Minute)); n != 3 || b.Len() != 12 {
		t.Errorf("%d are gone and %d left, want 3 and 12", n, b.Len())
	}
	for o := range b.Observations() {
		if noon.Sub(o.First()) > 2*time.Minute {
			t.Errorf("one of %s is left", o.First())
		}
	}
}

func TestEncodeRefusesWhatDoesNotFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := NewBatchBuilder("n1", "b", noon)
	for range 20_000 {
		address := netip.AddrFrom16(address16(random))
		b.Add(&Observation{Time: noon, Workload: Workload{Identity: UnitIdentity(domain(t, "a"), "n1", "a")}, Peer: Peer{Address: address, Port: 1}})
	}
	if _, err := b.Encode(1, 1, noon); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	b, o := fullBatch(f)
	message, err := b.Encode(7, 7, o.Time.Add(time.Second))
	if err != nil {
		f.Fatal(err)
	}
	plain, err := theCodec().unzip.DecodeAll(message, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message, false)
	f.Add(plain, true)
	f.Add([]byte{0xa1, 0x0a, 0x9a, 0x7f, 0xff, 0xff, 0xff}, true)
	f.Fuzz(func(t *testing.T, data []byte, isPlain bool) {
		if isPlain { // so that the fuzzer gets past the compression
			data = theCodec().zip.EncodeAll(data, nil)
		}
		b, err := DecodeBatch(data)
		if err != nil {
			if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrMalformed) {
				t.Errorf("no known error: %v", err)
			}
			return
		}
		rebuilt := NewBatchBuilder(b.Node, b.Boot, b.Started)
		for i := range b.Workloads {
			rebuilt.Sight(&b.Workloads[i])
		}
		n := 0
		for o := range b.Observations() {
			if err := o.Validate(); err != nil && !lenient(o) {
				t.Errorf("not valid: %v", err)
			}
			rebuilt.Add(o)
			n++
		}
		if n != b.Len() {
			t.Errorf("%d of %d observations", n, b.Len())
		}
		if rebuilt.Full() {
			return
		}
		if again, err := rebuilt.Encode(b.Sequence, b.Number, b.Time); err != nil {
			t.Error(err)
		} else if _, err := DecodeBatch(again); err != nil {
			t.Errorf("cannot be read again: %v", err)
		}
	})
}

// lenient says whether an observation has a word that this version does not know; another version's agent may send it.
func lenient(o *Observation) bool {
	unknown := func(e Evidence) bool { return e != "" && e.Strength() == 0 }
	return unknown(o.Workload.Evidence) || unknown(o.Peer.Evidence) || !o.Peer.NameSource.valid()
}

// benchBatch is an interval of a busy node: 30 workloads with 1,000 edges.
func benchBatch(b *testing.B) *BatchBuilder {
	td := domain(b, "shop.example")
	builder := NewBatchBuilder("n1", "0192d3a4-0000-7000-8000-000000000000", noon.Add(-time.Hour))
	for i := range 1000 {
		account := fmt.Sprintf("service-%d", i%30)
		builder.Add(&Observation{
			Time: noon, FirstTime: noon.Add(-time.Duration(i) * time.Millisecond), Node: "n1",
			Workload: Workload{
				Identity: KubernetesIdentity(td, "shop", account), Evidence: EvidenceKubernetes, Namespace: "shop", Pod: account + "-7c9f5d4b66-x2x4q",
				Container: "server", Image: "registry.example/" + account + "@sha256:5b0c", ServiceAccount: account, Owner: "Deployment/" + account, Executable: "/app/" + account,
			},
			Direction: Outbound, Protocol: TCP,
			Peer:   Peer{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Port: 8080, Name: fmt.Sprintf("peer-%d.shop.svc", i%200), NameSource: NameService},
			Counts: Counts{Connections: uint64(i % 17), BytesSent: uint64(i) * 977, BytesReceived: uint64(i) * 4099},
		})
	}
	return builder
}

func BenchmarkBatchEncode(b *testing.B) {
	builder := benchBatch(b)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		message, err := builder.Encode(1, 1, noon)
		if err != nil {
			b.Fatal(err)
		}
		size = len(message)
	}
	report(b, size)
}

func BenchmarkBatchDecode(b *testing.B) {
	message, err := benchBatch(b).Encode(1, 1, noon)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		batch, err := DecodeBatch(message)
		if err != nil {
			b.Fatal(err)
		}
		for o := range batch.Observations() {
			_ = ResourceOf(o)
		}
	}
	report(b, len(message))
}

func report(b *testing.B, size int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/observation")
	b.ReportMetric(float64(size)/1000, "bytes/observation")
}
