package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// DenyMode says what a node does about decisions.
type DenyMode string

// The modes.
const (
	DenyOn     DenyMode = "on"
	DenyDryRun DenyMode = "dry-run-only" // decisions that enforce only count what they would have refused
	DenyOff    DenyMode = "off"          // decisions are not followed, and nothing of them is in the kernel
)

// DenyConfig says which decisions a node follows. Without keys it follows none.
type DenyConfig struct {
	Mode               DenyMode      `mapstructure:"mode"`
	Keys               []string      `mapstructure:"keys"`                 // public account nkeys whose signatures count
	Floor              []string      `mapstructure:"floor"`                // targets that nobody is ever denied, besides loopback and Ambit's own paths
	Protected          []string      `mapstructure:"protected"`            // identities that no decision is about, with * for anything
	BreakGlass         string        `mapstructure:"break_glass"`          // file that turns everything off while it exists
	MaxLife            time.Duration `mapstructure:"max_life"`             // of a decision
	AutomaticPerMinute int           `mapstructure:"automatic_per_minute"` // decisions that nobody asked for; more are refused
	AutomaticMax       int           `mapstructure:"automatic_max"`        // likewise, that hold at a time
	Pins               string        `mapstructure:"pins"`                 // folder in a BPF file system of what outlives the agent
}

// DefaultDeny follows decisions, of no key yet. Its floor is a cluster's DNS and API server; the node's resolvers and the kubelet's probes are added by the agent.
func DefaultDeny() DenyConfig {
	return DenyConfig{
		Mode: DenyOn, Floor: []string{"svc:kube-dns.kube-system", "svc:kubernetes.default"}, BreakGlass: "/run/ambit/break-glass",
		MaxLife: event.MaxDecisionLife, AutomaticPerMinute: 10, AutomaticMax: 100, Pins: bpf.DefaultPins,
	}
}

// floorSorts are those that a configuration may have; the agent's own, of the node and of Ambit's paths, stand beside them.
const floorSorts = bpf.DenySorts / 2

// Validate says everything that is wrong.
func (c DenyConfig) Validate() error {
	var faults []error
	if c.Mode != DenyOn && c.Mode != DenyDryRun && c.Mode != DenyOff {
		faults = append(faults, fmt.Errorf("deny.mode is %q; set it to on, dry-run-only or off", c.Mode))
	}
	for _, k := range c.Keys {
		if !nkeys.IsValidPublicAccountKey(k) {
			faults = append(faults, fmt.Errorf("deny.keys: %q is no public account nkey, which begins with A", k))
		}
	}
	type sort struct {
		bits           int
		port, protocol bool
	}
	sorts := map[sort]bool{} // what the kernel tries one after the other
	for _, text := range c.Floor {
		t, err := event.ParseTarget(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("deny.floor: %w", err))
			continue
		}
		sorts[sort{t.Prefix.Bits(), t.Port != 0, t.Protocol != ""}] = true
	}
	if len(sorts) > floorSorts {
		faults = append(faults, fmt.Errorf("deny.floor has %d sorts of targets, by length of prefix, port and protocol; %d at most", len(sorts), floorSorts))
	}
	for _, p := range c.Protected {
		if !strings.HasPrefix(p, "spiffe://") && !strings.HasPrefix(p, "x509://") && !strings.HasPrefix(p, "*") {
			faults = append(faults, fmt.Errorf("deny.protected: %q is no identity such as spiffe://shop.example/ns/kube-system/*", p))
		}
	}
	if !filepath.IsAbs(c.BreakGlass) {
		faults = append(faults, fmt.Errorf("deny.break_glass is %q; name a file by its full path", c.BreakGlass))
	}
	if c.MaxLife < time.Minute || c.MaxLife > 90*24*time.Hour {
		faults = append(faults, fmt.Errorf("deny.max_life is %s, which is not between 1m and 90d", c.MaxLife))
	}
	if c.AutomaticPerMinute < 0 || c.AutomaticMax < 0 {
		faults = append(faults, errors.New("deny.automatic_per_minute and deny.automatic_max are at least 0, which allows none"))
	}
	if !filepath.IsAbs(c.Pins) {
		faults = append(faults, fmt.Errorf("deny.pins is %q; name a folder of a BPF file system by its full path", c.Pins))
	}
	return errors.Join(faults...)
}
