package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Errors of reading an answer, for those who want to tell them apart. The last two are counted too.
var (
	ErrNotAnswer = errors.New("no DNS answer")
	ErrMalformed = errors.New("malformed DNS message")
	ErrName      = errors.New("not a host name")
)

// Bounds of one message: what real resolvers send stays far below.
const (
	maxRecords   = 512
	maxAddresses = 128
	maxAliases   = 16
)

// reply is what one message says: addresses that a name was asked for.
type reply struct {
	name      dnsName
	known     aliases
	addresses [maxAddresses]netip.Addr
	ttl       [maxAddresses]time.Duration
	n         int
	beyond    int // addresses that did not fit
}

// dnsName is a lower-case name without the dot at its end. It is a value, so that a name that is known already need not be allocated; what stands
// behind its end is left over from others.
type dnsName struct {
	text [255]byte
	n    uint8
}

func (d *dnsName) bytes() []byte { return d.text[:d.n] }

// set takes over a name. The root is the empty name.
func (d *dnsName) set(n *dnsmessage.Name) {
	d.n = n.Length
	if d.n > 0 && n.Data[d.n-1] == '.' {
		d.n--
	}
	for i, c := range n.Data[:d.n] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		d.text[i] = c
	}
}

// hostName says whether the name consists of labels of letters, digits, '-' and '_', as names of hosts and services do.
func (d *dnsName) hostName() bool {
	label := 0
	for _, c := range d.bytes() {
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			if label++; label > 63 {
				return false
			}
		default:
			return false
		}
	}
	return label > 0 && d.n <= 253
}

// read reads a DNS message without its UDP header. Addresses belong to the name that was asked for, through whatever aliases (CNAME) the
// message gives; records of other names in it are not answers to the question. What was read before the message broke off stays in r: the
// kernel side copies only the beginning of long messages.
func (r *reply) read(message []byte) error {
	r.n, r.beyond = 0, 0
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil {
		return malformed(err)
	}
	if !header.Response || header.OpCode != 0 {
		return ErrNotAnswer
	}
	question, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return ErrNotAnswer
	}
	if err != nil {
		return malformed(err)
	}
	if question.Class != dnsmessage.ClassINET || question.Type != dnsmessage.TypeA && question.Type != dnsmessage.TypeAAAA &&
		question.Type != dnsmessage.TypeALL {
		return nil
	}
	switch _, err := p.Question(); {
	case err == nil:
		return fmt.Errorf("%w: more than one question", ErrMalformed)
	case !errors.Is(err, dnsmessage.ErrSectionDone):
		return malformed(err)
	}
	if r.name.set(&question.Name); !r.name.hostName() {
		return ErrName
	}
	if header.RCode != dnsmessage.RCodeSuccess {
		return nil
	}
	return r.answers(&p)
}

// aliases are the names that lead to the addresses of the one that was asked for, which is the first of them.
type aliases struct {
	names [maxAliases]dnsName
	n     int
}

func (a *aliases) has(name *dnsName) bool {
	for i := range a.n {
		if bytes.Equal(a.names[i].bytes(), name.bytes()) {
			return true
		}
	}
	return false
}

// answers reads the answer section. Resolvers put aliases before what they lead to, as RFC 1034 (4.3.2) has it; for those that do not, the section is
// read again with the aliases that were found.
func (r *reply) answers(p *dnsmessage.Parser) error {
	r.known.names[0], r.known.n = r.name, 1
	for {
		again, before := *p, r.known.n
		passed, err := r.pass(&again)
		if !passed || r.known.n == before {
			return err
		}
	}
}

// pass reads the answer section once. passed says that it came by records of other names, which may have been aliases that were not known yet.
func (r *reply) pass(p *dnsmessage.Parser) (passed bool, err error) {
	r.n, r.beyond = 0, 0
	known := &r.known
	var owner dnsName
	for range maxRecords {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return passed, nil
		}
		if err != nil {
			return passed, malformed(err)
		}
		owner.set(&h.Name)
		ours := h.Class == dnsmessage.ClassINET && known.has(&owner)
		switch {
		case ours && h.Type == dnsmessage.TypeA:
			a, err := p.AResource()
			if err != nil {
				return passed, malformed(err)
			}
			r.add(netip.AddrFrom4(a.A), h.TTL)
		case ours && h.Type == dnsmessage.TypeAAAA:
			a, err := p.AAAAResource()
			if err != nil {
				return passed, malformed(err)
			}
			r.add(netip.AddrFrom16(a.AAAA).Unmap(), h.TTL)
		case ours && h.Type == dnsmessage.TypeCNAME && known.n < maxAliases:
			alias, err := p.CNAMEResource()
			if err != nil {
				return passed, malformed(err)
			}
			if owner.set(&alias.CNAME); !known.has(&owner) {
				known.names[known.n] = owner
				known.n++
			}
		default:
			passed = passed || !ours
			if err := p.SkipAnswer(); err != nil {
				return passed, malformed(err)
			}
		}
	}
	return passed, fmt.Errorf("%w: more than %d records", ErrMalformed, maxRecords)
}

// add leaves out addresses that nobody can connect to: "0.0.0.0" is how filters say no.
func (r *reply) add(a netip.Addr, ttl uint32) {
	if a.IsUnspecified() || a.IsMulticast() {
		return
	}
	if r.n == maxAddresses {
		r.beyond++
		return
	}
	r.addresses[r.n], r.ttl[r.n] = a, time.Duration(ttl)*time.Second
	r.n++
}

func malformed(err error) error { return fmt.Errorf("%w: %w", ErrMalformed, err) }
