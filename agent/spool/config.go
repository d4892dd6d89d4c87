package spool

import (
	"errors"
	"fmt"
	"time"
)

// Config of a spool.
type Config struct {
	Dir      string        // made if it is missing; nobody else's
	Node     string        // whose messages they are; not empty
	MaxBytes int64         // of all files; the oldest messages go first
	MaxAge   time.Duration // of messages, by their Until; older ones go. Collectors refuse what is older than 73 hours

	// Kept is given the note that was kept, if any, by Open and before Lost is called. nil: nobody asks.
	Kept func(note []byte)

	// Lost is told of messages that are given up, before they go, and gives the note to be kept from then on. It must not call the spool.
	// nil keeps the note as it is.
	Lost func(Loss) (note []byte)
}

// Default is a Config without folder and node.
func Default() Config { return Config{MaxBytes: 1 << 30, MaxAge: 72 * time.Hour} }

// Bounds of what may be asked for.
const (
	minBytes = 1 << 20
	maxBytes = 1 << 40
	minAge   = time.Minute
	maxAge   = 72 * time.Hour
	maxNode  = 253
)

// Validate says everything that is wrong.
func (c *Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("the folder of the spool is missing"))
	}
	if c.Node == "" || len(c.Node) > maxNode {
		faults = append(faults, fmt.Errorf("node name %q must have 1 to %d characters", c.Node, maxNode))
	}
	return errors.Join(append(faults, Check(c.MaxBytes, c.MaxAge))...)
}

// Check says what is wrong with the bounds of a spool, by the names of the configuration file.
func Check(bytes int64, age time.Duration) error {
	var faults []error
	if bytes < minBytes || bytes > maxBytes {
		faults = append(faults, fmt.Errorf("spool.max_bytes is %d, which is not between 1 MiB and 1 TiB", bytes))
	}
	if age < minAge || age > maxAge {
		faults = append(faults, fmt.Errorf("spool.max_age is %s, which is not between %s and %s: collectors refuse what is older", age, minAge, maxAge))
	}
	return errors.Join(faults...)
}

// segmentBytes is when a new segment begins: what is dropped at once is a small part of all.
func (c *Config) segmentBytes() int64 { return min(max(c.MaxBytes/32, 64<<10), 4<<20) }

// Causes of losses.
const (
	Full    = "spool-full"    // more than MaxBytes
	Age     = "spool-age"     // older than MaxAge
	Damaged = "spool-damaged" // cut short or changed on the disk
)

// Loss is what was given up, from From to Until as messages tell their times.
type Loss struct {
	Cause        string
	From, Until  time.Time
	Messages     uint64 // at least: of a damaged end, how many it held may not be known
	Observations uint64 // likewise
}

// Message is what is kept.
type Message struct {
	Subject, ID, Boot string
	Data              []byte
	Observations      uint32
	From, Until       time.Time // of what it tells
}
