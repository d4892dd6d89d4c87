package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

// Config of an agent. Zero fields take the value of [Default].
type Config struct {
	Node           string            // name of this node in identities and subjects; not empty
	TrustDomain    event.TrustDomain // where derived identities live; not empty
	Version        string            // of the program, told in heartbeats
	Interval       time.Duration     // how often known edges are drained; new ones are sent at once
	Partitions     int               // how many partitions identities are spread over; the same everywhere
	CgroupRoot     string            // where cgroup2 is mounted; found if empty
	EdgesPerCgroup uint32            // what one cgroup may take of a node's 65536 edges
	QueueBytes     int               // how much waits in memory until the disk or the stream takes it; the oldest is dropped first; default 8 MiB, 64 MiB without StateDir
	Spool          SpoolConfig       // what waits on the disk, in StateDir

	Kubernetes    *kube.Config           // the cluster that this node belongs to; nil: none
	Identity      event.IdentityTemplate // of pods
	ClusterDomain string                 // of the cluster's DNS; default cluster.local
	Engines       []string               // sockets of container engines; those that are not there are looked for again
	TLS           *TLSConfig             // nil: TLS is not watched
	StateDir      string                 // folder of what outlives a restart; empty: nothing does
	Deny          DenyConfig             // which decisions are followed; without a mode, none are looked at
	Missing       func() []string        // what else cannot be done at the moment, in words, for heartbeats; may be nil
}

// file is where something that outlives a restart is kept; empty if nothing does.
func (c Config) file(name string) string {
	if c.StateDir == "" {
		return ""
	}
	return filepath.Join(c.StateDir, name)
}

// SpoolConfig bounds what waits on the disk while the stream is away; the oldest is dropped first.
type SpoolConfig struct {
	MaxBytes int64         `mapstructure:"max_bytes"`
	MaxAge   time.Duration `mapstructure:"max_age"`
}

// DefaultSpool is 1 GiB and three days, which is as far back as collectors take observations.
func DefaultSpool() SpoolConfig {
	d := spool.Default()
	return SpoolConfig{MaxBytes: d.MaxBytes, MaxAge: d.MaxAge}
}

// Validate says everything that is wrong.
func (c SpoolConfig) Validate() error { return spool.Check(c.MaxBytes, c.MaxAge) }

// spool is the folder of the spool; none where nothing outlives a restart.
func (c Config) spool() spool.Config {
	return spool.Config{Dir: c.file("spool"), Node: c.Node, MaxBytes: c.Spool.MaxBytes, MaxAge: c.Spool.MaxAge}
}

// Default is a Config without node and trust domain.
func Default() Config {
	return Config{Interval: 10 * time.Second, Partitions: event.DefaultPartitions, EdgesPerCgroup: 4096, Spool: DefaultSpool()}
}

// Bounds of the drain interval: below, publishing would cost more than watching; above, coverage would have holes of minutes after a crash.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = 5 * time.Minute
)

// Validate says everything that is wrong.
func (c Config) Validate() error {
	var faults []error
	if c.Node == "" || len(c.Node) > 253 {
		faults = append(faults, fmt.Errorf("node name %q must have 1 to 253 characters", c.Node))
	}
	if c.TrustDomain.IsZero() {
		faults = append(faults, errors.New("trust domain is missing"))
	}
	if c.Interval < minInterval || c.Interval > maxInterval {
		faults = append(faults, fmt.Errorf("interval %s is not between %s and %s", c.Interval, minInterval, maxInterval))
	}
	if c.Partitions < 1 || c.Partitions > 1024 {
		faults = append(faults, fmt.Errorf("%d partitions are not between 1 and 1024", c.Partitions))
	}
	if c.EdgesPerCgroup < 16 {
		faults = append(faults, fmt.Errorf("%d edges per cgroup are fewer than 16", c.EdgesPerCgroup))
	}
	if c.QueueBytes != 0 && c.QueueBytes < 1<<20 {
		faults = append(faults, fmt.Errorf("a queue of %d bytes is smaller than 1 MiB", c.QueueBytes))
	}
	if err := c.Spool.Validate(); err != nil {
		faults = append(faults, err)
	}
	if c.Deny.Mode != "" {
		if err := c.Deny.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	d := Default()
	if c.Interval == 0 {
		c.Interval = d.Interval
	}
	if c.Partitions == 0 {
		c.Partitions = d.Partitions
	}
	if c.EdgesPerCgroup == 0 {
		c.EdgesPerCgroup = d.EdgesPerCgroup
	}
	if c.Spool.MaxBytes == 0 {
		c.Spool.MaxBytes = d.Spool.MaxBytes
	}
	if c.Spool.MaxAge == 0 {
		c.Spool.MaxAge = d.Spool.MaxAge
	}
	return c
}
