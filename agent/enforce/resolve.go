package enforce

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Protocols as IP numbers them.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// Endpoint is where something is reached. A zero field is any.
type Endpoint struct {
	Prefix   netip.Prefix
	Port     uint16
	Protocol uint8
}

// Workload is a cgroup of this node and who is in it.
type Workload struct {
	Cgroup   uint64
	Path     string
	Identity event.Identity
	Shared   bool // by several identities: nobody can be told apart there
	Own      bool // Ambit itself
}

// Node is what a node knows. Nothing of what it gives is changed.
type Node interface {
	// Workloads gives all cgroups. Identities that are known only in shared ones are there, too.
	Workloads() []Workload
	// Reached gives where peers are reached whose identity matches: their addresses, and those of services that lead to nobody else.
	Reached(match func(event.Identity) bool) []Endpoint
	// From gives the addresses that connections of such peers come from.
	From(match func(event.Identity) bool) []netip.Addr
	// Named gives the addresses that cgroups were told for a DNS name.
	Named(name string, cgroups []uint64) []netip.Addr
	// Service gives where a service, db.shop.svc, is reached.
	Service(name string) []Endpoint
	// Floor gives Ambit's own paths and what the node itself cannot do without; and the addresses that may always reach workloads here.
	Floor() (to []Endpoint, from []netip.Addr)
}

// Key says what a rule is about.
type Key struct {
	Subject uint32 // 0: the floor
	Inbound bool
	Endpoint
}

// Until is one mode of a rule.
type Until struct {
	Deadline time.Duration // boot clock; 0: no rule
	Slot     uint32
}

// Rule is until when a rule counts.
type Rule struct{ Enforce, DryRun Until }

// Table is what a node's kernel is to refuse.
type Table struct {
	Cgroups map[uint64]uint32
	Rules   map[Key]Rule
}

// forever is for the floor.
const forever = time.Duration(1<<63 - 1)

// Resolve computes what is to be refused by what the node knows now, and sets the state of each decision. The table is the engine's and changes with the next call.
func (e *Engine) Resolve(n Node) Table {
	r := &resolution{
		e: e, n: n, table: Table{map[uint64]uint32{}, map[Key]Rule{}}, cgroups: map[event.Identity][]uint64{}, shared: map[event.Identity]string{},
		own: map[event.Identity]bool{}, sorts: map[sortOf]map[sort]bool{}, named: map[event.Identity]uint32{},
	}
	e.free, e.resting = append(e.free, e.resting...), nil
	for _, w := range n.Workloads() {
		switch {
		case w.Identity.IsZero():
		case w.Own:
			r.own[w.Identity] = true
		case w.Shared:
			r.shared[w.Identity] = w.Path
		default:
			r.cgroups[w.Identity] = append(r.cgroups[w.Identity], w.Cgroup)
		}
	}
	living := false
	for _, h := range e.All() {
		if !h.over {
			living = true
			r.decision(h)
		}
	}
	if living {
		r.floor()
	}
	for id, subject := range e.subjects {
		if _, still := r.named[id]; !still {
			delete(e.subjects, id)
			e.resting = append(e.resting, subject) // its cgroups are in the kernel until this table is
		}
	}
	e.table = r.table
	return e.table
}

type resolution struct {
	e       *Engine
	n       Node
	table   Table
	cgroups map[event.Identity][]uint64
	shared  map[event.Identity]string
	own     map[event.Identity]bool
	sorts   map[sortOf]map[sort]bool
	named   map[event.Identity]uint32
}

type sortOf struct {
	subject uint32
	inbound bool
}

type sort struct {
	bits           int
	port, protocol bool
}

func (k Key) sort() sort {
	bits := 0
	if k.Prefix.IsValid() {
		if bits = k.Prefix.Bits(); k.Prefix.Addr().Is4() {
			bits += 96
		}
	}
	return sort{bits, k.Port != 0, k.Protocol != 0}
}

// decision adds the rules of a decision, or none of them where they do not fit.
func (r *resolution) decision(h *Held) {
	d := h.Decision
	var reasons []string
	seen := map[string]bool{}
	why := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !seen[s] {
			seen[s] = true
			reasons = append(reasons, s)
		}
	}
	out, in := d.Direction != event.Inbound, d.Direction != event.Outbound
	add := map[event.Identity][]Key{}
	for id, cgroups := range r.cgroups {
		if d.Names(id) {
			if r.e.protected(id) {
				why("%s is protected", id)
				continue
			}
			if out {
				add[id] = append(add[id], r.outbound(h.Target, cgroups)...)
			}
			if in {
				add[id] = append(add[id], r.inbound(h.Target, cgroups)...)
			}
		}
		// The other end, where that is an identity.
		if h.Target.Kind == event.TargetIdentity && h.Target.Identity == id {
			if out {
				for _, a := range r.n.From(r.deniable(d)) {
					add[id] = append(add[id], Key{Inbound: true, Endpoint: Endpoint{single(a), h.Target.Port, number(h.Target.Protocol)}})
				}
			}
			if in && !r.e.protected(id) {
				for _, to := range r.n.Reached(r.deniable(d)) {
					if k, ok := narrow(to, h.Target); ok {
						add[id] = append(add[id], Key{Endpoint: k})
					}
				}
			}
		}
	}
	failed := false
	for id, path := range r.shared {
		if d.Names(id) && r.cgroups[id] == nil {
			failed = !d.Glob
			why("the cgroup %s is shared by several identities: nobody is denied there", path)
		}
	}
	for id := range r.own {
		if d.Names(id) {
			failed = failed || !d.Glob && r.cgroups[id] == nil
			why("%s is Ambit itself, which is never denied", id)
		}
	}
	h.State, h.Entries = event.AckInForce, 0
	if fault := r.add(h, add); fault != "" {
		failed = true
		why("%s", fault)
	}
	if failed {
		h.State = event.AckFailed
	}
	if r.e.cfg.DryRun && d.Mode == event.Enforce {
		why("this node only counts what would be refused (deny.mode)")
	}
	slices.Sort(reasons)
	h.Why = join(reasons)
}

// deniable matches whom a decision names and may be about.
func (r *resolution) deniable(d *event.Decision) func(event.Identity) bool {
	return func(id event.Identity) bool { return d.Names(id) && !r.e.protected(id) }
}

// add adds rules if all of them fit.
func (r *resolution) add(h *Held, keys map[event.Identity][]Key) (fault string) {
	fresh := map[sortOf]map[sort]bool{}
	total := len(r.table.Rules)
	for id, list := range keys {
		if len(list) == 0 {
			continue
		}
		subject, ok := r.subject(id)
		if !ok {
			return fmt.Sprintf("more than %d identities are denied on this node", r.e.cfg.Subjects-1)
		}
		total += len(list)
		for i := range list {
			list[i].Subject = subject
			of := sortOf{subject, list[i].Inbound}
			if s := list[i].sort(); !r.sorts[of][s] {
				if fresh[of] == nil {
					fresh[of] = map[sort]bool{}
				}
				fresh[of][s] = true
			}
		}
	}
	for of, s := range fresh {
		if len(r.sorts[of])+len(s) > r.e.cfg.Sorts {
			return fmt.Sprintf("more than %d sorts of targets, by length of prefix, port and protocol, are denied to one identity", r.e.cfg.Sorts)
		}
	}
	if total > r.e.cfg.Rules {
		return fmt.Sprintf("more than %d addresses are denied on this node", r.e.cfg.Rules)
	}
	for of, s := range fresh {
		if r.sorts[of] == nil {
			r.sorts[of] = map[sort]bool{}
		}
		for x := range s {
			r.sorts[of][x] = true
		}
	}
	enforce := h.Decision.Mode == event.Enforce && !r.e.cfg.DryRun
	for id, list := range keys {
		for _, k := range list {
			rule := r.table.Rules[k]
			mode := &rule.DryRun
			if enforce {
				mode = &rule.Enforce
			}
			if h.Deadline > mode.Deadline { // of several decisions, that which holds longest
				*mode = Until{h.Deadline, h.Slot}
			}
			r.table.Rules[k] = rule
			h.Entries++
		}
		if len(list) > 0 {
			for _, c := range r.cgroups[id] {
				r.table.Cgroups[c] = r.named[id]
				h.Entries++
			}
		}
	}
	return ""
}

// subject gives an identity's number. One that was given back is another's only after a table without it was applied.
func (r *resolution) subject(id event.Identity) (uint32, bool) {
	if s, ok := r.named[id]; ok {
		return s, true
	}
	s, ok := r.e.subjects[id]
	switch {
	case ok:
	case len(r.e.free) > 0:
		s = r.e.free[len(r.e.free)-1]
		r.e.free = r.e.free[:len(r.e.free)-1]
	case r.e.next < r.e.cfg.Subjects:
		s = r.e.next
		r.e.next++
	default:
		return 0, false
	}
	r.e.subjects[id], r.named[id] = s, s
	return s, true
}

// outbound gives where a target is reached, for who has these cgroups.
func (r *resolution) outbound(t event.Target, cgroups []uint64) (keys []Key) {
	add := func(e Endpoint) {
		if e, ok := narrow(e, t); ok {
			keys = append(keys, Key{Endpoint: e})
		}
	}
	switch t.Kind {
	case event.TargetAny, event.TargetPort:
		add(Endpoint{})
	case event.TargetNet:
		add(Endpoint{Prefix: t.Prefix})
	case event.TargetDNS:
		for _, a := range r.n.Named(t.Name, cgroups) {
			add(Endpoint{Prefix: single(a)})
		}
	case event.TargetService:
		for _, e := range r.n.Service(t.Name) {
			add(e)
		}
	case event.TargetIdentity:
		for _, e := range r.n.Reached(func(id event.Identity) bool { return id == t.Identity }) {
			add(e)
		}
	}
	return keys
}

// inbound gives who may not reach the workload: the port is its own.
func (r *resolution) inbound(t event.Target, cgroups []uint64) (keys []Key) {
	add := func(p netip.Prefix) {
		keys = append(keys, Key{Inbound: true, Endpoint: Endpoint{p, t.Port, number(t.Protocol)}})
	}
	switch t.Kind {
	case event.TargetAny, event.TargetPort:
		add(netip.Prefix{})
	case event.TargetNet:
		add(t.Prefix)
	case event.TargetDNS:
		for _, a := range r.n.Named(t.Name, cgroups) {
			add(single(a))
		}
	case event.TargetService:
		for _, e := range r.n.Service(t.Name) {
			add(e.Prefix)
		}
	case event.TargetIdentity:
		for _, a := range r.n.From(func(id event.Identity) bool { return id == t.Identity }) {
			add(single(a))
		}
	}
	return keys
}

// floor adds what is never refused.
func (r *resolution) floor() {
	to, from := r.n.Floor()
	for _, t := range r.e.cfg.Floor {
		for _, k := range r.outbound(t, nil) {
			to = append(to, k.Endpoint)
		}
	}
	for _, e := range to {
		r.table.Rules[Key{Endpoint: e}] = Rule{Enforce: Until{Deadline: forever}}
		if e.Prefix.IsValid() && e.Protocol != protocolTCP { // answers come to whatever port asked: a socket that is not connected says not whom
			r.table.Rules[Key{Inbound: true, Endpoint: Endpoint{Prefix: e.Prefix, Protocol: protocolUDP}}] = Rule{Enforce: Until{Deadline: forever}}
		}
	}
	for _, a := range from {
		r.table.Rules[Key{Inbound: true, Endpoint: Endpoint{Prefix: single(a)}}] = Rule{Enforce: Until{Deadline: forever}}
	}
}

// narrow gives the part of an endpoint that has the port and the protocol of a target.
func narrow(e Endpoint, t event.Target) (Endpoint, bool) {
	protocol := number(t.Protocol)
	if t.Port != 0 {
		if e.Port != 0 && e.Port != t.Port {
			return e, false
		}
		e.Port = t.Port
	}
	if protocol != 0 {
		if e.Protocol != 0 && e.Protocol != protocol {
			return e, false
		}
		e.Protocol = protocol
	}
	return e, true
}

func number(p event.Protocol) uint8 {
	switch p {
	case event.TCP:
		return protocolTCP
	case event.UDP:
		return protocolUDP
	}
	return 0
}

func single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// maxReasons bounds how many reasons are told.
const maxReasons = 3

func join(reasons []string) string {
	more := ""
	if n := len(reasons) - maxReasons; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
		reasons = reasons[:maxReasons]
	}
	s := ""
	for i, r := range reasons {
		if i > 0 {
			s += "; "
		}
		s += r
	}
	return s + more
}
