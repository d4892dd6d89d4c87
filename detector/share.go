package detector

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unique"

	"github.com/fxamacker/cbor/v2"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// The identities of a group, and the peers of an identity, are spread over partitions, each with a detector of its own. What one of them must know of
// the others, they tell each other: how many identities there are, in all and in each group, how many of them reach a resource, and who presents
// which certificate.
//
// Numbers are told as levels, of which there are few, so that an edge costs a few notes and no observation costs one. A level never falls, and only the
// highest one of each detector counts: notes may come twice, late and in any order. What they are about is named by a hash.

// levels are the numbers that a level stands for at least.
var levels = [...]uint32{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 1024, 4096}

func levelOf(n uint32) uint8 {
	i, exact := slices.BinarySearch(levels[:], n)
	if !exact {
		i--
	}
	return uint8(i)
}

// Bounds of what is kept of other partitions.
const (
	maxElsewhere = 100_000 // levels: half of them are the newest or were asked for lately
	maxForeign   = 50_000  // certificates, the newest
	maxNotes     = 2_000   // of each kind in one message
)

// retell is how long a certificate may be in use until that is told again.
const retell = 6 * hourMicros

// elsewhere is what detectors of other partitions have told, in two generations.
type elsewhere struct {
	young, old map[uint64]uint64 // levels of up to 16 others, four bits each; two of more have one place
	holders    *lru.Cache[uint64, foreign]
}

// foreign is who presents a certificate elsewhere.
type foreign struct {
	identity, node unique.Handle[string]
	since, at      int64 // µs
}

func newElsewhere() elsewhere {
	return elsewhere{young: map[uint64]uint64{}, old: map[uint64]uint64{}, holders: lru.New[uint64, foreign](maxForeign)}
}

func (e *elsewhere) get(key uint64) uint64 {
	v, known := e.young[key]
	if known {
		return v
	}
	if v, known = e.old[key]; known {
		e.put(key, v)
	}
	return v
}

func (e *elsewhere) put(key, v uint64) {
	e.young[key] = v
	if len(e.young) >= maxElsewhere/2 {
		e.young, e.old = map[uint64]uint64{}, e.young
	}
}

// sum is how many there are elsewhere at least.
func (e *elsewhere) sum(key uint64) (n int) {
	for v := e.get(key); v != 0; v >>= 4 {
		n += int(levels[v&15])
	}
	return n
}

// The kinds of what is counted.
const (
	countIdentities = "identities"
	countGroup      = "group"
	countAll        = "all"
	countOutside    = "outside"
	countInGroup    = "in group"
)

func noteKey(kind, group string, r event.Resource) uint64 {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(group))
	if r != (event.Resource{}) {
		h.Write([]byte{0})
		h.Write([]byte(r.String()))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// notes are what is to be told.
type notes struct {
	levels  map[uint64]uint8
	order   []uint64
	holders []sharedHolder
}

// count notes that there is one more of something, n in all. r is the zero resource where none is meant.
func (d *Detector) count(kind, group string, r event.Resource, n uint32) {
	if !d.config.Share || d.loading || levelOf(n) == levelOf(n-1) {
		return
	}
	key := noteKey(kind, group, r)
	if d.notes.levels == nil {
		d.notes.levels = map[uint64]uint8{}
	}
	if _, queued := d.notes.levels[key]; !queued {
		d.notes.order = append(d.notes.order, key)
	}
	d.notes.levels[key] = levelOf(n)
}

// supportElsewhere is who knows a resource in other partitions.
func (d *Detector) supportElsewhere(id *identity, r event.Resource) (s support) {
	if !d.config.Share {
		return s
	}
	s.all = d.elsewhere.sum(noteKey(countAll, "", r))
	s.outside = d.elsewhere.sum(noteKey(countOutside, "", r))
	if id.group != 0 {
		name := d.groups[id.group-1].name
		s.group = d.elsewhere.sum(noteKey(countInGroup, name, r))
		s.groupSize = d.elsewhere.sum(noteKey(countGroup, name, event.Resource{}))
	}
	return s
}

// and is the support of both. The size of the group is that of the identity's own, wherever the resource is known.
func (s support) and(other support) support {
	return support{s.group + other.group, s.groupSize + other.groupSize, s.all + other.all, s.outside + other.outside}
}

// everybody is how many identities there are, of all partitions.
func (d *Detector) everybody() int {
	n := len(d.identities)
	if d.config.Share {
		n += d.elsewhere.sum(noteKey(countIdentities, "", event.Resource{}))
	}
	return n
}

// present notes that an identity presents a certificate, and tells the others now and then.
func (d *Detector) present(sha, node string, who uint32, first, last int64) {
	p := presented{node: node, identity: who, at: last, since: first}
	if old := d.holders.where.Get(sha); old != nil && old.identity == who {
		p.since, p.told = min(old.since, first), old.told
	}
	if d.config.Share && (p.told == 0 || last-p.told >= retell) && len(d.notes.holders) < maxHeldNotes {
		if key, err := certificateKey(sha); err == nil {
			p.told = last
			d.notes.holders = append(d.notes.holders, sharedHolder{Key: key, Identity: d.identities[who].id.String(), Node: node, Since: p.since, At: last})
		}
	}
	d.holders.where.Put(sha, p)
}

// maxHeldNotes bounds certificates to be told while nobody takes them.
const maxHeldNotes = 20_000

func certificateKey(sha string) (uint64, error) {
	data, err := hex.DecodeString(sha[:min(16, len(sha))])
	if err != nil || len(data) < 8 {
		return 0, errors.New("it is no hash")
	}
	return binary.BigEndian.Uint64(data), nil
}

// ownerElsewhere is the identity of another partition that presented a certificate before this one did, and within a day.
func (s *sight) ownerElsewhere(own *event.Certificate) *foreign {
	if !s.d.config.Share {
		return nil
	}
	key, err := certificateKey(own.SHA256)
	if err != nil {
		return nil
	}
	f := s.d.elsewhere.holders.Get(key)
	if f == nil || s.first-f.at >= dayMicros+retell {
		return nil
	}
	since := s.first
	if was := s.d.holders.where.Get(own.SHA256); was != nil && was.identity == s.who {
		since = was.since
	}
	if c := cmp.Compare(f.since, since); c > 0 || c == 0 && f.identity.Value() > s.id.id.String() {
		return nil // the other one took it from here, and is told of there
	}
	return f
}

type sharedHolder struct {
	_              struct{} `cbor:",toarray"`
	Key            uint64
	Identity, Node string
	Since, At      int64
}

type sharedNotes struct {
	_       struct{} `cbor:",toarray"`
	Version int
	Levels  []byte // nine bytes each: a key and a level
	Holders []sharedHolder
}

const sharedVersion = 1

// Pending notes are what [Detector.Notes] would give: it says how many.
func (d *Detector) PendingNotes() int { return len(d.notes.order) + len(d.notes.holders) }

// Notes gives what is to be told to the detectors of the other partitions, encoded, and counts it as told. It gives nil when there is nothing more; a call
// gives a few ten thousand bytes at most, so that it is called again until then.
func (d *Detector) Notes() ([]byte, error) {
	if d.PendingNotes() == 0 {
		return nil, nil
	}
	n := &d.notes
	out := sharedNotes{Version: sharedVersion}
	few := min(len(n.order), maxNotes)
	for _, key := range n.order[:few] {
		out.Levels = append(binary.BigEndian.AppendUint64(out.Levels, key), n.levels[key])
		delete(n.levels, key)
	}
	n.order = n.order[few:]
	held := min(len(n.holders), maxNotes/10)
	out.Holders = n.holders[:held]
	n.holders = n.holders[held:]
	data, err := cbor.Marshal(&out)
	if err != nil {
		return nil, fmt.Errorf("encode notes: %w", err)
	}
	return data, nil
}

// ErrNotes means that notes cannot be read by this program.
var ErrNotes = errors.New("the notes of a detector cannot be read")

var notesDecoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: 4 * maxNotes, MaxNestedLevels: 8, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		panic(err) // of constants
	}
	return mode
}()

// Hear takes in what the detector of another partition tells. Hearing it again changes nothing.
func (d *Detector) Hear(partition int, data []byte) error {
	var in sharedNotes
	if err := notesDecoding.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("%w: %w", ErrNotes, err)
	}
	if in.Version != sharedVersion || len(in.Levels)%9 != 0 || partition < 0 {
		return fmt.Errorf("%w: version %d, %d bytes of partition %s", ErrNotes, in.Version, len(in.Levels), strconv.Itoa(partition))
	}
	if !d.config.Share {
		return nil
	}
	shift := partition % 16 * 4
	for list := in.Levels; len(list) > 0; list = list[9:] {
		key, level := binary.BigEndian.Uint64(list), uint64(min(list[8], uint8(len(levels)-1)))
		was := d.elsewhere.get(key)
		if was>>shift&15 < level {
			d.elsewhere.put(key, was&^(15<<shift)|level<<shift)
		}
	}
	for i := range in.Holders {
		d.hearHolder(&in.Holders[i])
	}
	return nil
}

func (d *Detector) hearHolder(h *sharedHolder) {
	now := foreign{unique.Make(h.Identity), unique.Make(h.Node), h.Since, h.At}
	if old := d.elsewhere.holders.Get(h.Key); old != nil {
		switch {
		case old.identity == now.identity:
			now.since, now.at = min(now.since, old.since), max(now.at, old.at)
		case old.since < now.since || old.since == now.since && old.identity.Value() < now.identity.Value():
			return // whose it was first
		}
	}
	d.elsewhere.holders.Put(h.Key, now)
}

// tellElsewhere tells of a certificate of an identity of another partition.
func (s *sight) tellElsewhere(own *event.Certificate, f *foreign) {
	if s.told(&ruleIdentityMismatch, wholeIdentity) {
		return
	}
	s.tell(alarm{rule: &ruleIdentityMismatch, what: wholeIdentity, score: 0.95, severity: ruleIdentityMismatch.severity,
		title: fmt.Sprintf("%s presents a certificate of %s", shortName(&s.o.Workload), f.identity.Value()),
		explanation: []string{
			fmt.Sprintf("%s presented the certificate %.16s… at %s, and the handshake completed.", nameOf(s.o), own.SHA256, clock(s.o.First())),
			fmt.Sprintf("The same certificate was presented by %s on node %s %s before; its key should never leave that workload.", f.identity.Value(), f.node.Value(),
				spell(time.Duration(max(s.first-f.since, 0))*time.Microsecond)),
		}})
}
