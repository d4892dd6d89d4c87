package report

import "time"

// CredentialState is what the validity of a certificate says at a time.
type CredentialState string

// The states of a credential.
const (
	CredentialValid    CredentialState = "valid"
	CredentialEnding   CredentialState = "ending"         // soon, and later than renewal usually comes
	CredentialExpired  CredentialState = "expired"        // and not presented since, as far as was seen
	CredentialMisused  CredentialState = "expired-in-use" // it was presented after its end
	CredentialNotYet   CredentialState = "not-yet-valid"
	CredentialUnstated CredentialState = "unknown" // its validity was not seen
)

// CredentialStates are all of them.
var CredentialStates = []CredentialState{CredentialValid, CredentialEnding, CredentialExpired, CredentialMisused, CredentialNotYet, CredentialUnstated}

// ending is when the end of a certificate is near at the latest. SPIRE renews at half of the life, ACME clients when a third is left: what has
// less than a third left is late.
const ending = 7 * day

// slack is how much later than a handshake it may be told: by the longest interval of an agent.
const slack = 5 * time.Minute

// StateOfCredential judges a certificate by its validity and by when it was last presented in a handshake.
func StateOfCredential(notBefore, notAfter, lastPresented, now time.Time) CredentialState {
	switch {
	case notAfter.IsZero():
		return CredentialUnstated
	case lastPresented.After(notAfter.Add(slack)):
		return CredentialMisused
	case !now.Before(notAfter):
		return CredentialExpired
	case now.Before(notBefore):
		return CredentialNotYet
	}
	soon := ending
	if !notBefore.IsZero() {
		soon = min(soon, notAfter.Sub(notBefore)/3)
	}
	if notAfter.Sub(now) < soon {
		return CredentialEnding
	}
	return CredentialValid
}
