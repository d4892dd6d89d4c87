package svid

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Bounds of what is judged. Whoever sent it may want it to cost us: parsing and path building are worse than linear in size, and so is a
// signature in the length of a key.
const (
	maxChain   = 10
	maxDER     = 64 << 10
	maxRSABits = 8192
)

// Cause is why a certificate is no verified SVID, one of a small fixed set.
type Cause string

// Causes. The first four say that it is no SVID at all, or cannot be one; the others that it claims to be one.
const (
	CauseMalformed   Cause = "malformed"     // not a certificate
	CauseTooLarge    Cause = "too-large"     // larger than is looked at
	CauseNotSVID     Cause = "not-svid"      // no SPIFFE id, or not as the standard wants a leaf
	CauseNoTime      Cause = "no-time"       // it is not known when
	CauseNoBundle    Cause = "no-bundle"     // of a trust domain whose authorities are not known here
	CauseExpired     Cause = "expired"       //
	CauseNotYetValid Cause = "not-yet-valid" //
	CauseUntrusted   Cause = "untrusted"     // no authority of its trust domain stands for it
)

// Verdict is what a certificate proves. Whoever shows it must have proved besides that the key is theirs, which a completed handshake does.
type Verdict struct {
	ID       spiffeid.ID // that it has, or, unless Verified, claims; zero if there is none
	Verified bool
	Cause    Cause  // empty if Verified
	Reason   string // likewise; in words, one bounded line
}

// Judge says whether a chain, leaf first, was a valid SVID at that time, of a trust domain whose bundle the source holds now.
func (s *Source) Judge(chain []*x509.Certificate, at time.Time) Verdict {
	return judge(chain, s.bundles(), at)
}

// JudgeDER is Judge for certificates as they came.
func (s *Source) JudgeDER(chain [][]byte, at time.Time) Verdict {
	return judgeDER(chain, s.bundles(), at)
}

// bundles are those of the moment; none before there are some.
func (s *Source) bundles() x509bundle.Source {
	if m := s.current(); m != nil {
		return m.bundles
	}
	return x509bundle.NewSet()
}

func judgeDER(chain [][]byte, bundles x509bundle.Source, at time.Time) Verdict {
	size := 0
	for _, der := range chain {
		size += len(der)
	}
	if v, ok := tooLarge(len(chain), size); ok {
		return v
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return Verdict{Cause: CauseMalformed, Reason: fmt.Sprintf("certificate %d cannot be read: %s", i+1, oneLine(err))}
		}
	}
	return judge(certs, bundles, at)
}

func tooLarge(count, size int) (Verdict, bool) {
	switch {
	case count > maxChain:
		return Verdict{Cause: CauseTooLarge, Reason: fmt.Sprintf("a chain of %d certificates is not looked at, at most %d are", count, maxChain)}, true
	case size > maxDER:
		return Verdict{Cause: CauseTooLarge, Reason: fmt.Sprintf("a chain of %d bytes is not looked at, at most %d are", size, maxDER)}, true
	}
	return Verdict{}, false
}

// judge follows the X.509-SVID standard: what go-spiffe demands of a peer, and of the leaf also what it demands of an own SVID.
func judge(chain []*x509.Certificate, bundles x509bundle.Source, at time.Time) Verdict {
	if len(chain) == 0 {
		return Verdict{Cause: CauseMalformed, Reason: "there is no certificate"}
	}
	size := 0
	for _, c := range chain {
		size += len(c.Raw)
	}
	if v, ok := tooLarge(len(chain), size); ok {
		return v
	}
	for i, c := range chain {
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
			return Verdict{Cause: CauseTooLarge, Reason: fmt.Sprintf("certificate %d has an RSA key of %d bits, at most %d are looked at", i+1, key.N.BitLen(), maxRSABits)}
		}
	}
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	v := Verdict{ID: id}
	refuse := func(cause Cause, format string, args ...any) Verdict {
		v.Cause, v.Reason = cause, fmt.Sprintf(format, args...)
		return v
	}
	switch {
	case err != nil:
		return refuse(CauseNotSVID, "%s", oneLine(err))
	case id.Path() == "":
		return refuse(CauseNotSVID, "%s is a trust domain, not a workload", id)
	case leaf.IsCA:
		return refuse(CauseNotSVID, "it is the certificate of an authority")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(CauseNotSVID, "its key usage is to sign certificates or revocations")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(CauseNotSVID, "its key usage is not to sign handshakes")
	case at.IsZero():
		return refuse(CauseNoTime, "the time of the handshake is not known")
	}
	if b, err := bundles.GetX509BundleForTrustDomain(id.TrustDomain()); err != nil || b.Empty() {
		return refuse(CauseNoBundle, "the authorities of the trust domain %s are not known", id.TrustDomain())
	}
	switch {
	case at.After(leaf.NotAfter):
		return refuse(CauseExpired, "it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case at.Before(leaf.NotBefore):
		return refuse(CauseNotYetValid, "it is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if _, _, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at)); err != nil {
		var unknown x509.UnknownAuthorityError
		var invalid x509.CertificateInvalidError
		switch {
		case errors.As(err, &unknown):
			return refuse(CauseUntrusted, "no authority of %s signed it", id.TrustDomain())
		case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
			return refuse(CauseUntrusted, "an authority in its chain was not valid at %s", at.UTC().Format(time.RFC3339))
		}
		return refuse(CauseUntrusted, "%s", oneLine(err))
	}
	v.Verified = true
	return v
}
