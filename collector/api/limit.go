package api

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// Bounds of requests.
const (
	DefaultRate  = 200  // of a principal, per second
	burstSeconds = 5    // how many seconds' worth may come at once
	failedRate   = 2    // requests with a bad proof, of an address, per second
	failedBurst  = 20   //
	loginRate    = 1    // logins by a provider, of an address, per second: less than the provider is asked in all
	loginBurst   = 10   //
	maxLimits    = 4096 // principals and addresses that are remembered
)

// limits bounds the requests of each principal. Of more principals than are remembered, those who were not heard of for longest begin anew.
type limits struct {
	mu      sync.Mutex
	buckets *lru.Cache[string, *rate.Limiter]
}

func newLimits() *limits { return &limits{buckets: lru.New[string, *rate.Limiter](maxLimits)} }

// take says how long who is to wait, 0 if it need not.
func (l *limits) take(who string, perSecond float64, burst int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets.Get(who)
	if b == nil {
		l.buckets.Put(who, rate.NewLimiter(rate.Limit(perSecond), burst))
		b = l.buckets.Get(who)
	}
	reservation := (*b).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// spend refuses a principal that asks too often. Those who show nothing are told apart by their addresses.
func (s *Server) spend(w http.ResponseWriter, r *http.Request, p Principal) error {
	per := s.Rate
	if per <= 0 {
		per = DefaultRate
	}
	who := p.Name
	if who == anonymousName {
		who = "address " + address(r)
	}
	return tooMany(w, s.limits.take(who, per, int(math.Ceil(per*burstSeconds)), time.Now()))
}

// fail counts a proof that is not good against its address, so that nobody tries many.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) error {
	if many := tooMany(w, s.limits.take("failed "+address(r), failedRate, failedBurst, time.Now())); many != nil {
		return many
	}
	return err
}

func tooMany(w http.ResponseWriter, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", seconds)
	return problem(http.StatusTooManyRequests, "there are too many requests; try again in %ss", seconds)
}

// address is who sends, as far as an address says it: of IPv6, the network, since whoever has one has all addresses in it.
func address(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	a := from.Addr().Unmap()
	if a.Is6() && !a.IsLoopback() {
		return netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
	}
	return a.String()
}
