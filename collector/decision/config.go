package decision

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/event"
)

// Approval says which decisions need a second person.
type Approval string

// The kinds of approval.
const (
	ApprovalNone    Approval = "none"    // nobody but who asks
	ApprovalEnforce Approval = "enforce" // what enforces
	ApprovalAll     Approval = "all"     // dry runs, too
)

// RequestsBucket holds decisions that wait for approval.
const RequestsBucket = "ambit_requests"

// MarkerTTL is how long it is told that a key is gone.
const MarkerTTL = time.Hour

// Config of a [Service].
type Config struct {
	Key         nkeys.KeyPair // nil: this collector cannot sign, so it only shows
	Trusted     []string      // public keys of other issuers, whose decisions count too
	MaxLife     time.Duration // of a decision
	Approval    Approval
	Wait        time.Duration // how long a decision waits for approval
	Protected   []string      // identities that are never denied, as patterns with *
	Floor       []string      // targets that are never denied
	TrustDomain event.TrustDomain
	Automatic   []Rule // when a finding is answered with a decision; empty: never
	PerMinute   int    // automatic decisions at most; more, and there are none for a while
	Most        int    // automatic decisions that hold at a time at most
	Points      []Point
	Log         *slog.Logger
}

// Default is a configuration without a key.
func Default() Config {
	return Config{MaxLife: event.MaxDecisionLife, Approval: ApprovalNone, Wait: 24 * time.Hour, PerMinute: 5, Most: 20, Log: slog.Default()}
}

// Validate says all that is wrong.
func (c *Config) Validate() error {
	var faults []error
	if c.MaxLife < time.Minute || c.MaxLife > 366*24*time.Hour {
		faults = append(faults, fmt.Errorf("deny.max_life %s is not from 1m to 366d", c.MaxLife))
	}
	if !slices.Contains([]Approval{ApprovalNone, ApprovalEnforce, ApprovalAll}, c.Approval) {
		faults = append(faults, fmt.Errorf("decisions.approval %q is not none, enforce or all", c.Approval))
	}
	if c.Wait < time.Minute || c.Wait > 30*24*time.Hour {
		faults = append(faults, fmt.Errorf("decisions.wait %s is not from 1m to 30d", c.Wait))
	}
	for _, p := range c.Protected {
		if strings.TrimSpace(p) == "" {
			faults = append(faults, errors.New("deny.protected: an empty text protects nobody"))
		}
	}
	if _, err := targets(c.Floor); err != nil {
		faults = append(faults, fmt.Errorf("deny.floor: %w", err))
	}
	for _, key := range c.Trusted {
		if !nkeys.IsValidPublicAccountKey(key) {
			faults = append(faults, fmt.Errorf("deny.keys: %.12q… is no public account nkey, such as `ambit decisions key` prints", key))
		}
	}
	if c.PerMinute < 0 || c.Most < 0 {
		faults = append(faults, errors.New("deny.automatic_per_minute and deny.automatic_max must not be negative"))
	}
	for i := range c.Automatic {
		if err := c.Automatic[i].validate(c.MaxLife); err != nil {
			faults = append(faults, fmt.Errorf("decisions.automatic: rule %d: %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

func targets(list []string) ([]event.Target, error) {
	var out []event.Target
	for _, text := range list {
		t, err := event.ParseTarget(text)
		if err != nil {
			return nil, err
		}
		if t.Kind == event.TargetAny {
			return nil, errors.New("* would forbid every decision; set deny.mode to off for that")
		}
		out = append(out, t)
	}
	return out, nil
}
