package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
)

// Config says who shares what.
type Config struct {
	JetStream  jetstream.JetStream
	Bucket     jetstream.KeyValue // its keys must be able to have a TTL of their own (LimitMarkerTTL)
	Member     string             // a name that no other start of any process has: letters, digits, - and _
	Partitions int                // how many leases there are
	TTL        time.Duration      // of a member that is not heard of, in whole seconds; default 5s
	Log        *slog.Logger
}

// DefaultTTL is how long a dead member keeps its partitions from others.
const DefaultTTL = 5 * time.Second

// MarkerTTL is how long the bucket must keep word of what is gone, its LimitMarkerTTL.
const MarkerTTL = time.Minute

// Lease is a partition that this member may work while its context lasts.
type Lease struct {
	Partition int
	Again     bool // this member had it last, and nobody since: what it remembers of the partition is still right

	ctx context.Context
}

// Context ends when the lease is lost or shall be given back.
func (l Lease) Context() context.Context { return l.ctx }

// Status is how a member stands.
type Status struct {
	Held    []int // partitions, ascending
	Members int   // how many live, this one included; 0 while it is not among them
	Err     error // why it is not, or why its leases are in danger
}

// Group is a member's part in the sharing. It is safe for concurrent use.
type Group struct {
	cfg Config
	// Run's.
	last       map[int]uint64 // revision of a partition's key when this member had it last
	complaints rate.Sometimes
	watches    sync.WaitGroup // that end

	mu     sync.Mutex
	status Status
}

var validMember = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// New checks the configuration.
func New(cfg Config) (*Group, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	switch {
	case cfg.JetStream == nil || cfg.Bucket == nil:
		return nil, errors.New("leases need a bucket")
	case !validMember.MatchString(cfg.Member):
		return nil, fmt.Errorf("the member's name %q is not made of at most 128 letters, digits, - and _", cfg.Member)
	case cfg.Partitions < 1:
		return nil, fmt.Errorf("there are %d partitions to share", cfg.Partitions)
	case cfg.TTL < time.Second || cfg.TTL%time.Second != 0:
		return nil, fmt.Errorf("the TTL of leases, %s, is not a number of whole seconds", cfg.TTL)
	}
	return &Group{
		cfg: cfg, last: map[int]uint64{}, complaints: rate.Sometimes{Interval: time.Minute},
		status: Status{Err: errors.New("has not joined the other collectors yet")},
	}, nil
}

// Status says how the member stands.
func (g *Group) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status
	s.Held = slices.Clone(s.Held)
	return s
}

func (g *Group) setError(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Err = err
}

// Run joins the members and holds this one's share until ctx ends; then it gives all back.
//
// It calls gained with leases that were taken together. That must return quickly; it starts work that goes on while the leases' contexts last.
// An error of it ends Run. It calls lost once for each of these leases, in a goroutine of its own, after the lease's context has ended; lost
// blocks until the work has stopped. Only then others get the partition, unless this member is too late: it takes its leases for lost shortly
// before the server does.
func (g *Group) Run(ctx context.Context, gained func([]Lease) error, lost func(partition int)) error {
	defer g.watches.Wait()
	var wait backoff
	for n := 1; ctx.Err() == nil; n++ {
		began := time.Now()
		t := &term{Group: g, session: g.cfg.Member + "." + strconv.Itoa(n), gained: gained, lost: lost}
		joined, err := t.run(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if joined && time.Since(began) > 2*g.cfg.TTL {
			wait = backoff{}
		}
		wait.sleep(ctx)
	}
	return nil
}

// tell shows how a session stands.
func (g *Group) tell(t *table, leases map[int]*held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t == nil {
		g.status.Held, g.status.Members = nil, 0
		return
	}
	g.status.Held, g.status.Members = slices.Sorted(maps.Keys(leases)), len(t.members())
}
