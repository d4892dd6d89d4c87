package handshake

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// Bounds of what is kept of one handshake.
const (
	maxGroups = 4
	maxGroup  = 4
	maxOwns   = 4
)

// shown are the certificates that a program decoded and encoded during a handshake. Some are none of the peer's: programs read files meanwhile, or look at
// the peer's certificate by encoding it.
type shown struct {
	order  int
	groups []group
	owns   []own
	spilt  bool // there was more than is kept
}

// group are certificates that were decoded one after another.
type group struct {
	order        int
	certificates [maxGroup]*certificate // nil where one was lost
	judged       bool
	holds        bool   // the program's own rules
	cookie       uint64 // of the socket, and when: of the leaf
	at           time.Duration
}

type own struct {
	order       int
	at          time.Duration
	certificate *certificate
}

// peer takes the certificate that was decoded; nil if it cannot be read.
func (s *shown) peer(c *certificate, r *bpf.TLSRecord) {
	s.order++
	i := int(r.Index)
	if i >= maxGroup {
		return
	}
	if i > 0 {
		if len(s.groups) > 0 {
			g := &s.groups[len(s.groups)-1]
			if g.certificates[i] != nil && g.certificates[i] != c || g.judged {
				return
			}
			g.certificates[i] = c
		}
		return
	}
	for j := range s.groups {
		if c != nil && s.groups[j].certificates[0] == c {
			g := s.groups[j]
			g.cookie, g.at = r.Cookie, r.At
			s.groups = append(slices.Delete(s.groups, j, j+1), g)
			return
		}
	}
	if len(s.groups) == maxGroups {
		s.spilt = true
		return
	}
	g := group{order: s.order, cookie: r.Cookie, at: r.At}
	g.certificates[0] = c
	s.groups = append(s.groups, g)
}

func (s *shown) own(c *certificate, at time.Duration) {
	s.order++
	if c == nil || slices.ContainsFunc(s.owns, func(o own) bool { return o.certificate == c }) {
		return
	}
	if len(s.owns) < maxOwns {
		s.owns = append(s.owns, own{s.order, at, c})
	}
}

// verdict takes the program's own judgement. Only the first after the peer's certificates is about them: the own chain is put together by judging it, too.
func (s *shown) verdict(r *bpf.TLSRecord) {
	if len(s.groups) == 0 || r.Index != 0 {
		return
	}
	if g := &s.groups[len(s.groups)-1]; !g.judged {
		g.judged, g.holds = true, r.Verified
	}
}

// chain gives the part of the group that is a leaf with its issuers, if there is one: lists of authorities are none.
func (g *group) chain() []*certificate {
	c := g.certificates[:]
	if c[0] == nil {
		return nil
	}
	first := 0
	if alone := c[1] == nil && c[2] == nil && c[3] == nil; c[0].authority && !alone && (c[1] == nil || !c[1].signs(c[0])) {
		first = slices.IndexFunc(c, func(x *certificate) bool { return x != nil && !x.authority })
		if first < 0 {
			return nil
		}
	}
	last := first
	for last+1 < len(c) && c[last+1] != nil && c[last+1].signs(c[last]) {
		last++
	}
	return c[first : last+1]
}

// presented is what both ends of a handshake proved to have, as far as that is sure.
type presented struct {
	chain   []*certificate // of the peer, leaf first
	holds   bool           // by the program's own rules
	own     *certificate
	unclear bool
}

func (p *presented) leaf() *certificate {
	if len(p.chain) == 0 {
		return nil
	}
	return p.chain[0]
}

// role is which end of a handshake the program was.
type role int

const (
	unknownRole role = iota
	clientRole
	serverRole
)

// present says which certificates were shown in a handshake of OpenSSL's. Answered is when the server's hello was on the wire, 0 if that was not seen.
//
// A server has encoded its own by then, and decodes the client's later. A client has decoded the server's when it encodes its own: without that, what it
// encoded may be the server's. Where it is not known which end it was, certificates that were both decoded and encoded are nobody's.
func (s *shown) present(as role, answered time.Duration) (out presented) {
	n := 0
	for i := range s.groups {
		g := &s.groups[i]
		chain := g.chain()
		switch {
		case chain == nil, as == serverRole && (answered == 0 || g.at < answered):
			continue
		case as != serverRole && slices.ContainsFunc(s.owns, func(o own) bool { return o.certificate == chain[0] && (as == unknownRole || o.order < g.order) }):
			continue
		}
		n++
		out.chain, out.holds = chain, g.judged && g.holds
	}
	if n > 1 || s.spilt {
		return presented{unclear: true}
	}
	for i, o := range s.owns {
		if as == serverRole {
			if i > 0 && !slices.ContainsFunc(s.groups, func(g group) bool { return g.has(o.certificate) }) {
				return presented{unclear: true} // of two handshakes
			}
			if i == 0 && answered != 0 && o.at <= answered {
				out.own = o.certificate
			}
			continue
		}
		if n == 1 && !slices.ContainsFunc(s.groups, func(g group) bool { return g.has(o.certificate) }) {
			out.own = o.certificate
			break
		}
	}
	return out
}

func (g *group) has(c *certificate) bool { return slices.Contains(g.certificates[:], c) }

// presentGo says which certificates were shown in a handshake of Go's, where probes see nothing else.
func (p *probed) presentGo() (out presented) {
	n := 0
	for i := range p.shown.groups {
		g := &p.shown.groups[i]
		if chain := g.chain(); chain != nil && g.cookie != 0 && g.cookie == p.cookie {
			n++
			out.chain, out.holds = chain, p.verified
		}
	}
	if n > 1 || p.shown.spilt {
		out.chain, out.holds, out.unclear = nil, false, true
	}
	if len(p.shown.owns) == 1 {
		out.own = p.shown.owns[0].certificate
	}
	return out
}
