package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Bounds of a [DenyTable].
const (
	DenySorts     = 16    // sorts of rules that a subject may have each way, by length of prefix, and whether port and protocol count
	DenySubjects  = 2048  // the first, 0, is the floor: who matches one of its rules that enforce is never refused
	DenyDecisions = 16384 // counts
	DenyCgroups   = 16384
	DenyRules     = 262144
)

// DenyTable is all that is refused.
type DenyTable struct {
	Cgroups map[uint64]uint32 // who, as a number of a subject, by cgroup
	Rules   map[DenyKey]DenyRule
}

// DenyKey says what a rule is about. It is comparable; Prefix is masked, and of IPv4 where it is mapped.
type DenyKey struct {
	Subject  uint32
	Inbound  bool
	Prefix   netip.Prefix // of the peer; zero: any
	Port     uint16       // of the service; 0: any
	Protocol uint8        // IPPROTO_*; 0: any
}

// DenyRule says until when, on the boot clock, and for whom it counts. Zero times are no rule.
type DenyRule struct {
	Enforce, DryRun DenyUntil
}

// DenyUntil is one mode of a rule.
type DenyUntil struct {
	Until    time.Duration
	Decision uint32 // index of a count
}

// DenyCount is what a decision did. Times are of the boot clock, zero if it did nothing.
type DenyCount struct {
	Decision            uint64 // number that [Deny.SetCount] gave it
	Denied, Would       uint64
	Spared              uint64 // on the floor
	FirstDone, LastDone time.Duration
}

// DenySort tells rules apart that need a look of their own; a subject may have [DenySorts] each way.
type DenySort struct {
	Inbound        bool
	Bits           int // of an address of 128
	Port, Protocol bool
}

// Sort gives the sort of a rule.
func (k DenyKey) Sort() DenySort {
	bits := 0
	if k.Prefix.IsValid() {
		if bits = k.Prefix.Bits(); k.Prefix.Addr().Is4() {
			bits += 96
		}
	}
	return DenySort{k.Inbound, bits, k.Port != 0, k.Protocol != 0}
}

type (
	denySort = struct {
		mask     [2]uint64
		port     uint16
		protocol uint8
	}
	denyState struct {
		cgroups  map[uint64]uint32
		rules    map[denyDenyRuleKey]denyDenyRule
		subjects map[uint32]denyDenySubject // that have any sort
	}
)

func (s DenySort) way() int {
	if s.Inbound {
		return 1
	}
	return 0
}

func (s DenySort) raw() (r denySort) {
	var mask [16]byte
	for b := range s.Bits {
		mask[b/8] |= 0x80 >> (b % 8)
	}
	for w := range 2 {
		r.mask[w] = binary.NativeEndian.Uint64(mask[w*8:])
	}
	if s.Port {
		r.port = 0xffff
	}
	if s.Protocol {
		r.protocol = 0xff
	}
	return r
}

func (k DenyKey) raw() (r denyDenyRuleKey, err error) {
	p := k.Prefix
	if p.IsValid() {
		if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return r, fmt.Errorf("%s is no plain prefix", p)
		}
		address := p.Addr().As16()
		for w := range 2 {
			r.Address[w] = binary.NativeEndian.Uint64(address[w*8:])
		}
	}
	if k.Subject >= DenySubjects {
		return r, fmt.Errorf("subject %d is beyond %d", k.Subject, DenySubjects)
	}
	r.Subject, r.Port, r.Protocol = k.Subject, k.Port, k.Protocol
	if k.Inbound {
		r.Inbound = 1
	}
	return r, nil
}

func (r DenyRule) raw() denyDenyRule {
	return denyDenyRule{
		Until:    [2]uint64{uint64(r.Enforce.Until), uint64(r.DryRun.Until)},
		Decision: [2]uint32{r.Enforce.Decision, r.DryRun.Decision},
	}
}

// read takes over what the maps hold.
func (d *Deny) read() (denyState, error) {
	s := denyState{map[uint64]uint32{}, map[denyDenyRuleKey]denyDenyRule{}, map[uint32]denyDenySubject{}}
	var id uint64
	var subject uint32
	cgroups := d.collection.Maps["deny_cgroups"].Iterate()
	for cgroups.Next(&id, &subject) {
		s.cgroups[id] = subject
	}
	var k denyDenyRuleKey
	var r denyDenyRule
	rules := d.collection.Maps["deny_rules"].Iterate()
	for rules.Next(&k, &r) {
		s.rules[k] = r
	}
	err := errors.Join(cgroups.Err(), rules.Err())
	for i := uint32(0); i < DenySubjects && err == nil; i++ {
		var v denyDenySubject
		if err = d.collection.Maps["deny_subjects"].Lookup(i, &v); v != (denyDenySubject{}) {
			s.subjects[i] = v
		}
	}
	if err != nil {
		return s, fmt.Errorf("read what is denied: %w", err)
	}
	return s, nil
}

// Changes counts what [Deny.Apply] had to write.
type Changes struct{ Added, Changed, Removed int }

// Apply has the kernel refuse what t says and nothing else. Only what is different is written, in an order in which nobody is refused or let through meanwhile
// who is neither before nor after. A number of a subject that t lacks may be given to another only after that.
func (d *Deny) Apply(t DenyTable) (c Changes, err error) {
	// Cgroups that were made below others meanwhile.
	if d.known.cgroups, err = d.cgroups(); err != nil {
		return c, err
	}
	rules := make(map[denyDenyRuleKey]denyDenyRule, len(t.Rules))
	sorts := map[uint32]map[DenySort]bool{}
	for k, r := range t.Rules {
		raw, err := k.raw()
		if err != nil {
			return c, fmt.Errorf("apply rule: %w", err)
		}
		rules[raw] = r.raw()
		if sorts[k.Subject] == nil {
			sorts[k.Subject] = map[DenySort]bool{}
		}
		sorts[k.Subject][k.Sort()] = true
	}
	more, final, err := d.sorts(sorts)
	if err != nil {
		return c, err
	}
	w := &denyWriter{d: d}
	write := func(floor bool) {
		for k, r := range rules {
			old, ok := d.known.rules[k]
			switch {
			case (k.Subject == 0) != floor:
				continue
			case !ok:
				c.Added++
			case old != r:
				c.Changed++
			default:
				continue
			}
			w.put("deny_rules", k, r)
			d.known.rules[k] = r
		}
	}
	write(true) // before what it carves out of
	if floor, ok := more[0]; ok {
		w.subjects(map[uint32]denyDenySubject{0: floor})
	}
	write(false)
	w.subjects(more)
	for id, subject := range t.Cgroups {
		old, ok := d.known.cgroups[id]
		switch {
		case !ok:
			c.Added++
		case old != subject:
			c.Changed++
		default:
			continue
		}
		w.put("deny_cgroups", id, subject)
	}
	for id := range d.known.cgroups {
		if _, ok := t.Cgroups[id]; !ok {
			c.Removed++
			w.remove("deny_cgroups", id)
		}
	}
	d.known.cgroups = maps.Clone(t.Cgroups)
	for k := range d.known.rules {
		if _, ok := rules[k]; !ok {
			c.Removed++
			w.remove("deny_rules", k)
			delete(d.known.rules, k)
		}
	}
	w.subjects(final)
	if w.err == nil {
		return c, nil
	}
	d.known, err = d.read() // some of it was written
	return c, errors.Join(fmt.Errorf("apply what is denied: %w", w.err), err)
}

func (d *Deny) cgroups() (map[uint64]uint32, error) {
	found := map[uint64]uint32{}
	var id uint64
	var subject uint32
	all := d.collection.Maps["deny_cgroups"].Iterate()
	for all.Next(&id, &subject) {
		found[id] = subject
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("read who is denied: %w", err)
	}
	return found, nil
}

// sorts gives the subjects with the sorts that are wanted beside those they have, and then without those. A sort keeps its place: who looks meanwhile finds it.
func (d *Deny) sorts(wanted map[uint32]map[DenySort]bool) (more, final map[uint32]denyDenySubject, err error) {
	more, final = map[uint32]denyDenySubject{}, map[uint32]denyDenySubject{}
	for n, old := range d.known.subjects {
		if wanted[n] == nil && old != (denyDenySubject{}) {
			final[n] = denyDenySubject{}
		}
	}
	for n, sorts := range wanted {
		both := d.known.subjects[n]
		var kept [2][DenySorts]bool
		var fresh []DenySort
		for s := range sorts {
			way, raw, found := s.way(), s.raw(), false
			for i := range both.Sorts[way] {
				x := &both.Sorts[way][i]
				if x.Used != 0 && (denySort{x.Mask, x.Port, x.Protocol}) == raw {
					kept[way][i], found = true, true
				}
			}
			if !found {
				fresh = append(fresh, s)
			}
		}
		for _, s := range fresh {
			way, raw, place := s.way(), s.raw(), -1
			for i := range both.Sorts[way] {
				if kept[way][i] {
					continue
				}
				if place < 0 || both.Sorts[way][place].Used != 0 && both.Sorts[way][i].Used == 0 { // rather a free one than one whose rules are to go
					place = i
				}
			}
			if place < 0 {
				return nil, nil, fmt.Errorf("subject %d has more than %d sorts of rules", n, DenySorts)
			}
			x := &both.Sorts[way][place]
			x.Mask, x.Port, x.Protocol, x.Used = raw.mask, raw.port, raw.protocol, 1
			kept[way][place] = true
		}
		only := both
		for way := range only.Sorts {
			for i := range only.Sorts[way] {
				if !kept[way][i] {
					only.Sorts[way][i] = denyDenySubject{}.Sorts[0][0]
				}
			}
		}
		more[n], final[n] = both, only
	}
	return more, final, nil
}

type denyWriter struct {
	d   *Deny
	err error
}

func (w *denyWriter) put(name string, key, value any) {
	if w.err == nil {
		w.err = w.d.collection.Maps[name].Put(key, value)
	}
}

func (w *denyWriter) remove(name string, key any) {
	// Also after an error: what found no room must not keep in force what is over.
	if err := w.d.collection.Maps[name].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) && w.err == nil {
		w.err = err
	}
}

func (w *denyWriter) subjects(all map[uint32]denyDenySubject) {
	for n, s := range all {
		if w.d.known.subjects[n] == s {
			continue
		}
		w.put("deny_subjects", n, s)
		if w.d.known.subjects[n] = s; s == (denyDenySubject{}) {
			delete(w.d.known.subjects, n)
		}
	}
}

// InForce gives the deadlines of what is applied, by index of their counts, on the boot clock; the later one where there are several.
func (d *Deny) InForce() map[uint32]time.Duration {
	until := map[uint32]time.Duration{}
	for _, r := range d.known.rules {
		for mode := range r.Until {
			if t := time.Duration(r.Until[mode]); t > 0 {
				until[r.Decision[mode]] = max(until[r.Decision[mode]], t)
			}
		}
	}
	return until
}

// SetCount gives a count to a decision and sets it to zero. No rule may lead to it.
func (d *Deny) SetCount(index uint32, decision uint64) error {
	if err := d.collection.Maps["deny_counts"].Put(index, &denyDenyCount{Decision: decision}); err != nil {
		return fmt.Errorf("set a decision's count: %w", err)
	}
	return nil
}

// Count reads what a decision did, without a system call.
func (d *Deny) Count(index uint32) (DenyCount, error) {
	var c denyDenyCount
	size := int(unsafe.Sizeof(c))
	if _, err := d.counts.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&c)), size), int64(index)*int64(size)); err != nil {
		return DenyCount{}, fmt.Errorf("read a decision's count: %w", err)
	}
	return DenyCount{c.Decision, c.Denied, c.Would, c.Spared, time.Duration(c.First), time.Duration(c.Last)}, nil
}
