package detector

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds a detector.
type Config struct {
	Learn             time.Duration // observed time after which an identity is stable
	Occasions         int           // distinct hours in which it must have been active by then: who runs once a month shows its habits late
	AlertsPerDay      float64       // new reach of medium severity or more that a day should bring, per 1,000 identities
	MaxIdentities     int           // identities known; those beyond are refused and counted
	MaxResources      int           // resources known per identity
	MaxEdges          int           // pairs of identity and resource known
	MaxNodes          int           // nodes known
	Policy            Policy        // what is told otherwise than by default
	Share             bool          // there are detectors of other partitions, see Notes and Hear
	FindingsPerMinute int           // per identity and minute of event time; those beyond are folded into one

	AllFindingsPerMinute int           // of all identities together, once up to medium severity and once above; those beyond are folded into one
	ResolveAfter         time.Duration // a finding that does not occur again for so long is resolved
}

// Default is what suits a cluster of 10,000 nodes. An edge takes about 220 bytes where its resource is its own, and fewer where it is shared, so
// that full tables hold about 2 GB.
func Default() Config {
	return Config{
		Learn:             24 * time.Hour,
		Occasions:         3,
		AlertsPerDay:      7,
		MaxIdentities:     200_000,
		MaxResources:      10_000,
		MaxEdges:          10_000_000,
		MaxNodes:          20_000,
		FindingsPerMinute: 20,

		AllFindingsPerMinute: 100,
		ResolveAfter:         35 * 24 * time.Hour, // longer than a month, in which some jobs run once
	}
}

// Validate says all that is wrong.
func (c Config) Validate() error {
	var faults []error
	if c.Learn < time.Millisecond {
		faults = append(faults, fmt.Errorf("learn is %s; it must be at least 1ms; 24h is usual", c.Learn))
	}
	if c.AlertsPerDay < 0.01 || c.AlertsPerDay > 10_000 {
		faults = append(faults, fmt.Errorf("alerts per day are %g; they must be between 0.01 and 10000; 7 is usual", c.AlertsPerDay))
	}
	if c.ResolveAfter < time.Hour {
		faults = append(faults, fmt.Errorf("resolve after is %s; it must be at least 1h; 840h is usual", c.ResolveAfter))
	}
	for _, bound := range []struct {
		name  string
		value int
	}{
		{"occasions", c.Occasions},
		{"max identities", c.MaxIdentities},
		{"max resources", c.MaxResources},
		{"max edges", c.MaxEdges},
		{"max nodes", c.MaxNodes},
		{"findings per minute", c.FindingsPerMinute},
		{"findings per minute of all", c.AllFindingsPerMinute},
	} {
		if bound.value < 1 || bound.value > 1<<30 {
			faults = append(faults, fmt.Errorf("%s is %d; it must be between 1 and %d", bound.name, bound.value, 1<<30))
		}
	}
	faults = append(faults, c.Policy.Validate())
	return errors.Join(faults...)
}
