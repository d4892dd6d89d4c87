package event

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
)

// issuerHashBytes of SHA-256 name an issuer. Who makes certificates chooses its name freely, so no two may be made to meet.
const issuerHashBytes = 16

// CertificateIdentity is the identity of a certificate without a SPIFFE ID: x509://<issuer hash>/<subject>. Issuer is the issuer's name in DER form, subject the
// subject's in words (RFC 2253). It is the zero Identity if one of them is empty: those without a subject cannot be told apart.
func CertificateIdentity(issuer []byte, subject string) Identity {
	if len(issuer) == 0 || subject == "" {
		return Identity{}
	}
	sum := sha256.Sum256(issuer)
	path := url.PathEscape(subject)
	if len(path) > maxDerivedPath || subject == "." || subject == ".." || endsLikeHash(path) {
		cut := path[:min(len(path), maxDerivedPath-1-2*hashBytes)]
		if i := strings.LastIndexByte(cut, '%'); i >= 0 && i > len(cut)-3 {
			cut = cut[:i]
		}
		path = cut + "-" + shortHash(subject)
	}
	return Identity{"x509://" + hex.EncodeToString(sum[:issuerHashBytes]) + "/" + path}
}
