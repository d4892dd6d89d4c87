package svid

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Client is for connections to servers: mutual TLS 1.3 with one of peers. Every handshake shows the newest certificate, and believes the newest
// authorities; connections that are open stay so, whatever changes. The host name that was dialled does not matter, only who peers are.
func (s *Source) Client(peers Peers) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.own() },
		InsecureSkipVerify:   true, // VerifyConnection does it, with authorities that change
		VerifyConnection:     func(c tls.ConnectionState) error { return s.verify(c, peers, x509.ExtKeyUsageServerAuth) },
	}
}

// Server is for taking connections, likewise. Sessions are not resumed, so that everyone shows a valid certificate each time.
func (s *Source) Server(peers Peers) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.own() },
		ClientAuth:             tls.RequireAnyClientCert, // VerifyConnection verifies it
		VerifyConnection:       func(c tls.ConnectionState) error { return s.verify(c, peers, x509.ExtKeyUsageClientAuth) },
		SessionTicketsDisabled: true,
	}
}

// own is the certificate to show.
func (s *Source) own() (*tls.Certificate, error) {
	m := s.current()
	if m == nil {
		return nil, errors.New(s.Status())
	}
	if err := m.check(s.now()); err != nil {
		return nil, errors.New(s.Status())
	}
	return m.own, nil
}

// verify says why the other end is none of peers.
func (s *Source) verify(c tls.ConnectionState, peers Peers, usage x509.ExtKeyUsage) error {
	m := s.current()
	if m == nil {
		return errors.New(s.Status())
	}
	now := s.now()
	v := judge(c.PeerCertificates, m.peers(), now)
	if v.Verified && peers.allows(v.ID) {
		return nil
	}
	reason := v.Reason
	if v.Verified {
		reason = fmt.Sprintf("%s is not among %s", v.ID, peers)
	}
	if len(peers.names) > 0 && m.files != nil && v.Cause != CauseTooLarge {
		err := verifyName(c.PeerCertificates, m.files, peers.names, x509.VerifyOptions{CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err == nil {
			return nil
		}
		if !v.Verified {
			reason = oneLine(err)
		}
	}
	s.count(peerRefused)
	return fmt.Errorf("refuse the certificate of the other end: %s", reason)
}

// verifyName verifies a certificate that is for one of names.
func verifyName(chain []*x509.Certificate, roots authorities, names []string, opts x509.VerifyOptions) error {
	if len(chain) == 0 {
		return errors.New("there is none")
	}
	opts.Roots, opts.Intermediates = roots.pool(), authorities(chain[1:]).pool()
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	var err error
	for _, name := range names {
		if err = chain[0].VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}
