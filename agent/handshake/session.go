package handshake

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// session is what is looked at in OpenSSL's form of a session.
type session struct {
	certificate []byte // of the peer, in DER form; within what was read. nil if there is none
	verified    bool   // the program's own rules held when it was made
}

var errSession = errors.New("neither a session nor a certificate")

// Fields of SSL_SESSION: a sequence of version, TLS version, cipher, id and key, and then fields with these tags in this order, most of them
// optional.
const (
	peerField   = asn1.Tag(3 | 0x80 | 0x20)
	resultField = asn1.Tag(5 | 0x80 | 0x20)
)

// readSession reads the DER form of an SSL_SESSION, or of the certificate alone. It may end early: its fields are read as far as they are whole.
func readSession(der []byte) (session, error) {
	body, ok := content(der)
	if !ok {
		return session{}, errSession
	}
	var first cryptobyte.String
	var tag asn1.Tag
	whole := body
	if !whole.ReadAnyASN1(&first, &tag) {
		return session{}, errSession
	}
	if tag == asn1.SEQUENCE {
		return session{certificate: der}, nil
	}
	if tag != asn1.INTEGER {
		return session{}, errSession
	}
	var s session
	for !whole.Empty() {
		var field cryptobyte.String
		if !whole.ReadAnyASN1(&field, &tag) {
			break // cut
		}
		switch tag {
		case peerField:
			certificate, rest := field, field
			if s.certificate != nil || !rest.SkipASN1(asn1.SEQUENCE) || !rest.Empty() {
				return session{}, errSession
			}
			s.certificate = certificate
		case resultField:
			var result int64
			if !field.ReadASN1Integer(&result) {
				return session{}, errSession
			}
			s.verified = result == 0
		}
	}
	return s, nil
}

// content gives what of a sequence's content is there.
func content(der []byte) (cryptobyte.String, bool) {
	if len(der) < 2 || der[0] != 0x30 {
		return nil, false
	}
	n, head := int(der[1]), 2
	if n > 0x80 {
		more := n - 0x80
		if more > 3 || len(der) < head+more {
			return nil, false
		}
		n = 0
		for _, b := range der[head : head+more] {
			n = n<<8 | int(b)
		}
		head += more
	} else if n == 0x80 {
		return nil, false
	}
	return cryptobyte.String(der[head:min(len(der), head+n)]), true
}
