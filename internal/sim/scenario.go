package sim

import (
	"slices"
	"time"
)

// Scenario is one sort of attack.
type Scenario struct {
	Name   string
	Family string
	OWASP  []string      // Non-Human Identities Top 10, 2025
	Attack []string      // MITRE ATT&CK techniques
	Does   string        // what happens, in a sentence
	Rules  []string      // whose findings count without naming the resource
	Lasts  time.Duration // at most

	place func(*stage) bool // tells the observations; false if it cannot happen then
}

// The families.
const (
	familyStolen    = "stolen credential"
	familyDormant   = "dormant account"
	familyLateral   = "lateral movement"
	familyExfil     = "exfiltration"
	familyDiscovery = "discovery"
	familyExecution = "execution in a workload"
	familyCommand   = "command and control"
	familyTrust     = "broken trust"
	familyCloud     = "cloud and cluster credentials"
	familyPoison    = "poisoned learning"
)

// scenarios are all of them. Their names do not change: seeds hang on them.
var scenarios = slices.Concat(stolenScenarios, dormantScenarios, lateralScenarios, exfilScenarios, discoveryScenarios, executionScenarios, commandScenarios, trustScenarios,
	cloudScenarios, poisonScenarios)

// Scenarios lists what may be placed.
func Scenarios() []Scenario { return slices.Clone(scenarios) }
