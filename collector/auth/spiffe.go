package auth

import (
	"crypto/x509"
	"net/http"

	"github.com/ambit-nhi/ambit/collector/api"
)

// SPIFFE authenticates by the certificate that a client showed in its handshake. It is safe for concurrent use.
type SPIFFE struct {
	Grants []Grant // by SPIFFE ID
	// Verify gives the SPIFFE ID that a chain, leaf first, proves now.
	Verify func(chain []*x509.Certificate) (string, error)
}

// Authenticate implements [api.Authenticator].
func (s *SPIFFE) Authenticate(r *http.Request) (api.Principal, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return api.Principal{}, false, nil
	}
	id, err := s.Verify(r.TLS.PeerCertificates)
	if err != nil {
		return api.Principal{}, false, api.Unauthorized("the client's certificate is not accepted: %v", err)
	}
	role := granted(s.Grants, id)
	if role == api.Nobody {
		return api.Principal{}, false, api.Forbidden("%s has no role here", id)
	}
	return api.Principal{Name: id, Role: role}, true, nil
}
