package detector

import "github.com/ambit-nhi/ambit/event"

// rule is what is the same in all findings of one rule. Each rule has a file of its own.
type rule struct {
	name     string
	about    string         // one sentence: what it tells
	advice   string         // one sentence: what to do first
	severity event.Severity // where the circumstances do not say otherwise
	owasp    []string       // OWASP Non-Human Identities Top 10, 2025
	attack   []string       // MITRE ATT&CK techniques, whatever the circumstances
}

// rules are all of them, in the order of the documentation.
var rules = []*rule{
	&ruleNewReach, &ruleMetadataAccess, &ruleEnvironmentCrossing, &ruleScopeViolation, &ruleNewReachBurst, &ruleFanOut, &ruleFindingFlood, &ruleDormantIdentity, &ruleDormantWakeup, &ruleHumanUse, &ruleUnexpectedExecutable, &ruleIdentityReuse, &ruleIdentityMismatch,
	&ruleTrustDowngrade, &ruleLongLivedCredential, &ruleRotationStalled, &ruleVolume, &ruleOffHours, &ruleUndeclaredIdentity, &ruleNeverUsed,
}

func ruleNamed(name string) *rule {
	for _, r := range rules {
		if r.name == name {
			return r
		}
	}
	return nil
}

// Rules gives the names of all rules.
func Rules() []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.name)
	}
	return out
}
