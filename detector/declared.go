package detector

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Declared is what an inventory says of an identity. Zero times are not known.
type Declared struct {
	Created time.Time // since when it should exist
	Gone    time.Time // since when it should not any more
	Owner   string    // who answers for it; empty is not known
	Version uint64    // of what is said: something older changes nothing
}

// causeDeclared counts what an inventory said of identities beyond those that are allowed.
const causeDeclared = "declaration_table_full"

// declared is a [Declared] in µs since 1970. Who is declared need not ever be seen, so it has no place among the identities until it is.
type declared struct {
	created, gone int64
	owner         string
	version       uint64
}

// Declare notes what an inventory says of an identity: since when it should exist, and since when it should not any more; zero times are not known.
func (d *Detector) Declare(id event.Identity, created, gone time.Time) {
	d.DeclareAs(id, Declared{Created: created, Gone: gone})
}

// DeclareAs notes all that an inventory says of an identity, in place of what was said before.
func (d *Detector) DeclareAs(id event.Identity, now Declared) {
	old, known := d.declared[id]
	switch {
	case id.IsZero() || known && now.Version < old.version:
		return
	case !known && len(d.declared) >= d.config.MaxIdentities:
		d.refused[causeDeclared]++
		return
	}
	d.declared[id] = declared{micros(now.Created), micros(now.Gone), now.Owner, now.Version}
	if who, seen := d.idIndex[id]; seen {
		d.profess(who)
	}
}

// profess brings the profile of an identity up to what is declared of it.
func (d *Detector) profess(who uint32) {
	i := &d.identities[who]
	if x, known := d.declared[i.id]; known {
		i.profile.created, i.profile.gone = x.created, x.gone
		if x.gone == 0 {
			d.healLater(findingKey{edgeKey{who, wholeIdentity}, &ruleUndeclaredIdentity}, max(d.clock.now, i.profile.last), "It is in the inventory again.")
		} else if i.dormant && x.gone <= max(d.clock.now, i.profile.last) {
			i.dormant = false
			d.healLater(findingKey{edgeKey{who, wholeIdentity}, &ruleDormantIdentity}, max(d.clock.now, x.gone), "Its account was removed.")
		}
	}
}

// Declared gives what an inventory said of an identity last.
func (d *Detector) Declared(id event.Identity) (Declared, bool) {
	x, known := d.declared[id]
	if !known {
		return Declared{}, false
	}
	return Declared{Created: moment(x.created), Gone: moment(x.gone), Owner: x.owner, Version: x.version}, true
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// ownerOf is who answers for the workload that is being judged: by the inventory, or by the workload's own word.
func (s *sight) ownerOf() string {
	if owner := s.d.declared[s.id.id].owner; owner != "" {
		return owner
	}
	return s.o.Workload.Owner
}

// eachDeclared gives all that is declared, in the order of identities.
func (d *Detector) eachDeclared(visit func(id event.Identity, created, gone int64)) {
	all := slices.SortedFunc(maps.Keys(d.declared), func(a, b event.Identity) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range all {
		visit(id, d.declared[id].created, d.declared[id].gone)
	}
}
