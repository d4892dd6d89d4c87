package detector

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

func sharing() *Detector {
	c := Default()
	c.Share, c.Learn, c.Occasions = true, time.Minute, 1
	return New(c)
}

// notesOf are all that a detector tells.
func notesOf(t interface{ Fatal(...any) }, d *Detector) (all [][]byte) {
	for {
		data, err := d.Notes()
		if err != nil {
			t.Fatal(err)
		}
		if data == nil {
			return all
		}
		all = append(all, data)
	}
}

func hear(t interface{ Fatal(...any) }, d *Detector, partition int, notes ...[]byte) {
	for _, data := range notes {
		if err := d.Hear(partition, data); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLevels(t *testing.T) {
	for n := range uint32(5000) {
		l := levelOf(n)
		if levels[l] > n || int(l) < len(levels)-1 && levels[l+1] <= n {
			t.Fatalf("level of %d is %d", n, l)
		}
	}
}

// TestNotesInAnyOrder has notes come in any order, and some of them several times: what is known of other partitions is the same.
func TestNotesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type note struct {
			partition int
			data      []byte
		}
		var all []note
		keys := map[uint64]int{}
		for p := range 3 {
			d := sharing()
			for i := range rapid.IntRange(0, 20).Draw(t, "identities") {
				o := simple(t, fmt.Sprintf("spiffe://x.example/ns/a/sa/p%d-%d", p, i), rapid.IntRange(1, 4).Draw(t, "port"))
				d.Observe(o, nil)
				for _, data := range notesOf(t, d) {
					all = append(all, note{p, data})
				}
			}
			keys[noteKey(countIdentities, "", event.Resource{})] += int(levels[levelOf(uint32(len(d.identities)))])
			for what, r := range d.resources {
				keys[noteKey(countAll, "", r)] += int(levels[levelOf(d.users[what].all)])
			}
		}
		d := sharing()
		order := rapid.Permutation(append(slices.Clone(all), all...)).Draw(t, "order")
		for _, n := range order {
			hear(t, d, n.partition, n.data)
		}
		for key, want := range keys {
			if got := d.elsewhere.sum(key); got != want {
				t.Fatalf("%d are known of, want %d", got, want)
			}
		}
	})
}

func simple(t interface{ Fatal(...any) }, id string, port int) *event.Observation {
	who, err := event.ParseIdentity(id)
	if err != nil {
		t.Fatal(err)
	}
	return &event.Observation{
		Time: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
		Workload: event.Workload{Identity: who, Evidence: event.EvidenceSVID, Namespace: "a", ServiceAccount: id[strings.LastIndexByte(id, '/')+1:]},
		Peer:     event.Peer{Address: netip.AddrFrom4([4]byte{10, 0, 0, 1}), Port: uint16(port)}, Counts: event.Counts{Connections: 1},
	}
}

// TestCertificateElsewhere has a certificate be presented by identities of two partitions: the one that did so later is told of, whatever is heard first.
func TestCertificateElsewhere(t *testing.T) {
	sha := strings.Repeat("ab", 32)
	at := func(id, node string, after time.Duration) *event.Observation {
		o := simple(t, "spiffe://x.example/ns/a/sa/"+id, 443)
		o.Time, o.Node = o.Time.Add(after), node
		o.TLS = &event.TLS{Version: "1.3", OwnCertificate: &event.Certificate{SHA256: sha, Proven: true}}
		return o
	}
	mismatch := func(found []event.Finding) (n int) {
		for _, f := range found {
			if f.Rule == ruleIdentityMismatch.name {
				n++
				if !strings.Contains(f.Title, "presents a certificate of spiffe://x.example/ns/a/sa/owner") || !strings.Contains(strings.Join(f.Explanation, " "), "on node n1 ") {
					t.Errorf("it says %s: %v", f.Title, f.Explanation)
				}
			}
		}
		return n
	}
	owner, thief := sharing(), sharing()
	if n := mismatch(owner.Observe(at("owner", "n1", 0), nil)); n != 0 {
		t.Errorf("the owner is told of")
	}
	hear(t, thief, 0, notesOf(t, owner)...)
	if n := mismatch(thief.Observe(at("thief", "n2", time.Minute), nil)); n != 1 {
		t.Errorf("%d findings", n)
	}
	if n := mismatch(thief.Observe(at("thief", "n2", 90*time.Second), nil)); n != 0 {
		t.Error("it is told twice")
	}

	// Both have presented it before they hear of each other.
	owner, thief = sharing(), sharing()
	first := owner.Observe(at("owner", "n1", 0), nil)
	second := thief.Observe(at("thief", "n2", time.Minute), nil)
	mine, yours := notesOf(t, owner), notesOf(t, thief)
	hear(t, thief, 0, mine...)
	hear(t, owner, 1, yours...)
	if mismatch(first)+mismatch(second) != 0 || mismatch(owner.Observe(at("owner", "n1", 2*time.Minute), nil)) != 0 {
		t.Error("told without knowing, or of the owner")
	}
	if mismatch(thief.Observe(at("thief", "n2", 2*time.Minute), nil)) != 1 {
		t.Error("the thief is not told of")
	}
	// It is over: whose certificate it was days ago says nothing.
	if n := mismatch(sharing().Observe(at("thief", "n2", 72*time.Hour), nil)); n != 0 {
		t.Error("told of nothing")
	}
	d := sharing()
	hear(t, d, 0, mine...)
	if n := mismatch(d.Observe(at("thief", "n2", 72*time.Hour), nil)); n != 0 {
		t.Error("told after days")
	}
}

func FuzzHear(f *testing.F) {
	d := sharing()
	d.Observe(simple(f, "spiffe://x.example/ns/a/sa/a", 443), nil)
	for _, data := range notesOf(f, d) {
		f.Add(data)
	}
	f.Add([]byte{})
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := sharing()
		if err := d.Hear(3, data); err == nil {
			if err := d.Hear(3, data); err != nil {
				t.Errorf("the second time: %v", err)
			}
		}
		d.Observe(simple(t, "spiffe://x.example/ns/a/sa/b", 443), nil)
	})
}
