package report

import (
	"fmt"
	"strings"
	"time"
)

// Preset is how a standard wants unused identities to be looked for.
type Preset struct {
	Name   string        `json:"name"`
	Says   string        `json:"says"`
	Window time.Duration `json:"-"`
}

// Presets are all of them.
var Presets = []Preset{
	{"nist-ac-2-3", "NIST SP 800-53 AC-2(3): accounts that were inactive for 90 days are disabled, within 24 hours of being found (90 days and 24 hours are the usual assignment).", 90 * day},
	{"pci-7.2.5.1", "PCI DSS 4.0.1 7.2.5.1: access of application and system accounts is reviewed periodically, what is not needed is removed, and management acknowledges it (90 days; your own risk analysis may say otherwise). `ambit report reviews` says who acknowledged what.", 90 * day},
	{"cis-5.3", "CIS Controls 8 5.3: accounts that were dormant for 45 days are deleted or disabled.", 45 * day},
}

// ParsePreset finds a preset by its name.
func ParsePreset(name string) (Preset, error) {
	var names []string
	for _, p := range Presets {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Preset{}, fmt.Errorf("preset %q is not one of %s", name, strings.Join(names, ", "))
}
