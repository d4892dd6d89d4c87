package tlswire

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Client is what a ClientHello says (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
type Client struct {
	Random    [32]byte
	SessionID []byte   // 32 bytes at most; TLS 1.3 clients make one up
	Version   uint16   // the highest that is offered, such as 0x0304
	SNI       string   // lower case; "" if there is none, or none that can be a name. With ECH, the public name of who takes it
	ALPN      []string // the first 16 that are printable
	Resumes   bool     // offers to resume: a PSK, a ticket, or before TLS 1.3 a session ID
	ECH       bool     // has an Encrypted Client Hello, or something random that looks like one (GREASE)
}

// Server is what a ServerHello says (RFC 8446 section 4.1.3, RFC 5246 section 7.4.1.3).
type Server struct {
	Random     [32]byte
	SessionID  []byte // 32 bytes at most. In TLS 1.2 and before, the client's own says that the session is resumed
	Version    uint16 // chosen
	ALPN       string // before TLS 1.3; "" if there is none
	Resumed    bool   // TLS 1.3: a PSK was accepted; before it is not said here
	HelloRetry bool   // asks for another ClientHello; another ServerHello follows
}

// Extensions by their numbers at IANA.
const (
	extServerName        = 0      // RFC 6066
	extALPN              = 16     // RFC 7301
	extSessionTicket     = 35     // RFC 5077
	extPreSharedKey      = 41     // RFC 8446
	extSupportedVersions = 43     // RFC 8446
	extEncryptedHello    = 0xfe0d // draft-ietf-tls-esni
)

const (
	versionSSL3, versionTLS12, versionTLS13 = 0x0300, 0x0303, 0x0304

	maxALPN       = 16
	maxExtensions = 128
)

// helloRetryRandom is the random of a HelloRetryRequest, the SHA-256 of that word (RFC 8446 section 4.1.3).
var helloRetryRandom = [32]byte{
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
}

var errMalformed = errors.New("malformed TLS message")

// parseClient parses the body of a ClientHello.
func parseClient(body []byte) (*Client, error) {
	var (
		c                                  Client
		s                                  = cryptobyte.String(body)
		session, suites, compression, exts cryptobyte.String
	)
	if !s.ReadUint16(&c.Version) || !s.CopyBytes(c.Random[:]) || !s.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!s.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites)%2 != 0 ||
		!s.ReadUint8LengthPrefixed(&compression) || len(compression) == 0 ||
		!s.Empty() && (!s.ReadUint16LengthPrefixed(&exts) || !s.Empty()) {
		return nil, errMalformed
	}
	c.SessionID = session
	c.Version = min(c.Version, versionTLS12) // RFC 8446 section 4.2.1: more than that is said by the extension only
	if err := eachExtension(exts, c.extension); err != nil {
		return nil, err
	}
	if c.Version < versionSSL3 {
		return nil, errMalformed
	}
	c.Resumes = c.Resumes || c.Version < versionTLS13 && len(session) > 0
	return &c, nil
}

func (c *Client) extension(kind uint16, data cryptobyte.String) bool {
	switch kind {
	case extServerName:
		return c.readServerName(data)
	case extALPN:
		var list cryptobyte.String
		return data.ReadUint16LengthPrefixed(&list) && data.Empty() && c.readALPN(list)
	case extSupportedVersions:
		var list cryptobyte.String
		return data.ReadUint8LengthPrefixed(&list) && data.Empty() && c.readVersions(list)
	case extSessionTicket:
		c.Resumes = c.Resumes || len(data) > 0 // empty asks for a new one
	case extPreSharedKey:
		c.Resumes = true
	case extEncryptedHello:
		c.ECH = true
	}
	return true
}

func (c *Client) readServerName(data cryptobyte.String) bool {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() {
		return false
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return false
		}
		if kind == 0 && c.SNI == "" && isName(name) {
			c.SNI = strings.ToLower(string(name))
		}
	}
	return true
}

// isName says whether bytes may be a host's name: what others read as a name must not hold anything else.
func isName(b []byte) bool {
	return len(b) > 0 && len(b) <= 253 && !slices.ContainsFunc(b, func(c byte) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}

func (c *Client) readALPN(list cryptobyte.String) bool {
	for !list.Empty() {
		var p cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&p) || len(p) == 0 {
			return false
		}
		if len(c.ALPN) < maxALPN && isPrintable(p) { // those that are not are GREASE (RFC 8701)
			c.ALPN = append(c.ALPN, string(p))
		}
	}
	return true
}

func isPrintable(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' })
}

func (c *Client) readVersions(list cryptobyte.String) bool {
	highest := uint16(0)
	for !list.Empty() {
		var v uint16
		if !list.ReadUint16(&v) {
			return false
		}
		if v <= versionTLS13 { // more is GREASE, or a draft
			highest = max(highest, v)
		}
	}
	if highest >= versionSSL3 {
		c.Version = highest
	}
	return true
}

// parseServer parses the body of a ServerHello.
func parseServer(body []byte) (*Server, error) {
	var (
		r             Server
		s             = cryptobyte.String(body)
		session, exts cryptobyte.String
	)
	if !s.ReadUint16(&r.Version) || !s.CopyBytes(r.Random[:]) || !s.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!s.Skip(3) || // cipher suite, compression
		!s.Empty() && (!s.ReadUint16LengthPrefixed(&exts) || !s.Empty()) {
		return nil, errMalformed
	}
	r.SessionID = session
	r.HelloRetry = r.Random == helloRetryRandom
	if err := eachExtension(exts, r.extension); err != nil {
		return nil, err
	}
	if r.Version < versionSSL3 || r.Version > versionTLS13 {
		return nil, errMalformed
	}
	r.Resumed = r.Resumed && r.Version == versionTLS13
	return &r, nil
}

func (r *Server) extension(kind uint16, data cryptobyte.String) bool {
	switch kind {
	case extSupportedVersions:
		return data.ReadUint16(&r.Version) && data.Empty()
	case extPreSharedKey:
		r.Resumed = true
	case extALPN:
		var list, p cryptobyte.String
		if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || !list.ReadUint8LengthPrefixed(&p) || !list.Empty() || len(p) == 0 {
			return false
		}
		if isPrintable(p) {
			r.ALPN = string(p)
		}
	}
	return true
}

// eachExtension gives each extension, of which there must not be two of a kind (RFC 8446 section 4.2).
func eachExtension(exts cryptobyte.String, read func(kind uint16, data cryptobyte.String) bool) error {
	var seen []uint16
	for !exts.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !exts.ReadUint16(&kind) || !exts.ReadUint16LengthPrefixed(&data) || len(seen) == maxExtensions || slices.Contains(seen, kind) || !read(kind, data) {
			return errMalformed
		}
		seen = append(seen, kind)
	}
	return nil
}

const maxChain = 32

// parseCertificates parses the body of a Certificate message of TLS 1.2 and before: the chain, in DER, leaf first (RFC 5246 section 7.4.2). A client without
// certificate sends none.
func parseCertificates(body []byte) ([][]byte, error) {
	var list, cert cryptobyte.String
	s := cryptobyte.String(body)
	if !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return nil, errMalformed
	}
	chain := [][]byte{}
	for !list.Empty() {
		if !list.ReadUint24LengthPrefixed(&cert) || len(cert) == 0 || len(chain) == maxChain {
			return nil, errMalformed
		}
		chain = append(chain, cert)
	}
	return chain, nil
}
