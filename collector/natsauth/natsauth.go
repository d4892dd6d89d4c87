// Package natsauth says to NATS servers who an agent is, by the token that Kubernetes gave its pod: NATS' authorization callout. Each node's agent becomes a user
// with the rights of deploy/nats/agent.conf for its own node, and nobody has to keep a list of nodes.
package natsauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/event"
)

// Subject is where servers ask. In the account of the callout, the servers let nobody but themselves publish there.
const Subject = "$SYS.REQ.USER.AUTH"

// queue has one collector answer each request.
const queue = "ambit-auth"

// Bounds.
const (
	workers   = 8                // tokens that are reviewed at a time
	waiting   = 1024             // requests; a server asks again when its client does
	stale     = 8 * time.Second  // of the ten that servers wait by deploy/nats; later answers would only keep others waiting
	reviewFor = 5 * time.Second  // of the cluster, about one token
	complain  = 30 * time.Second // between two lines about refusals of one cause
	maxAsked  = 64 << 10         // bytes of a request: certificates and a token
	maxToken  = 8 << 10          // bytes
	minLife   = 5 * time.Minute
	maxLife   = 24 * time.Hour
)

// Claim is whose token it is, as the cluster says.
type Claim struct {
	User string // system:serviceaccount:<namespace>:<name>
	Pod  string
	Node string // on which the pod runs
}

// Reviewer asks the cluster about a token. A token that it does not accept gives an error that wraps [ErrRefused]; other errors are of the asking.
type Reviewer interface {
	Review(ctx context.Context, token, audience string) (Claim, error)
}

// ErrRefused means that a token is not accepted.
var ErrRefused = errors.New("the cluster does not accept this token")

// Config of a service.
type Config struct {
	Issuer          nkeys.KeyPair // an account nkey, whose public key the servers have in auth_callout.issuer
	Account         string        // of the servers, that agents belong to
	Audience        string        // that tokens must be for
	ServiceAccounts []string      // of agents, as namespace/name
	Life            time.Duration // of a connection, after which the agent shows its token again
	Reviewer        Reviewer
	Logger          *slog.Logger
}

// Service answers servers. It is safe for concurrent use.
type Service struct {
	cfg    Config
	users  map[string]bool
	counts counts
	heard  heard
	again  time.Duration // until a subscription that the server took away is asked for again
}

// New checks the configuration.
func New(cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, users: map[string]bool{}, counts: counts{numbers: map[string]uint64{}, told: map[string]time.Time{}}, again: 5 * time.Second}
	public, err := cfg.Issuer.PublicKey()
	if err != nil || !nkeys.IsValidPublicAccountKey(public) {
		return nil, errors.New("the issuer is no account nkey, whose seed begins with SA")
	}
	if cfg.Logger == nil {
		s.cfg.Logger = slog.Default()
	}
	if cfg.Life < minLife || cfg.Life > maxLife {
		return nil, fmt.Errorf("the life of a connection, %s, is not between %s and %s", cfg.Life, minLife, maxLife)
	}
	for _, name := range cfg.ServiceAccounts {
		user, err := userOf(name)
		if err != nil {
			return nil, err
		}
		s.users[user] = true
	}
	if len(s.users) == 0 || cfg.Account == "" || cfg.Audience == "" || cfg.Reviewer == nil {
		return nil, errors.New("service accounts, account, audience or reviewer are missing")
	}
	return s, nil
}

// request is a server's, and when it came.
type request struct {
	*nats.Msg
	at time.Time
}

// work answers requests until ctx ends.
func (s *Service) work(ctx context.Context, asked <-chan request) {
	for {
		select {
		case r := <-asked:
			if time.Since(r.at) > stale { // the server has refused by now
				s.counts.add("too-many")
				continue
			}
			if answer := s.answer(ctx, r.Data); answer != nil {
				if err := r.Respond(answer); err != nil {
					s.counts.add("unanswered")
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// answer makes a user of a request, or says no. To what no server has written it says nothing.
func (s *Service) answer(ctx context.Context, data []byte) []byte {
	if len(data) > maxAsked {
		s.counts.add("malformed")
		return nil
	}
	asked, err := jwt.DecodeAuthorizationRequestClaims(string(data))
	if err != nil || asked == nil || !nkeys.IsValidPublicServerKey(asked.Issuer) || !nkeys.IsValidPublicUserKey(asked.UserNkey) {
		s.counts.add("malformed")
		return nil
	}
	said := jwt.NewAuthorizationResponseClaims(asked.UserNkey)
	said.Audience = asked.Server.ID
	node, cause, err := s.who(ctx, asked.ConnectOptions.Token)
	if err == nil {
		cause = "failed"
		said.Jwt, err = s.user(asked.UserNkey, node)
	}
	if err != nil {
		s.counts.add(cause)
		if s.counts.tell(cause, time.Now()) {
			s.cfg.Logger.Warn("a NATS client is refused", "cause", cause, "client", asked.ClientInformation.Host, "server", asked.Server.Name, "error", err)
		}
		said.Error = "ambit: " + cause
	}
	text, err := said.Encode(s.cfg.Issuer)
	if err != nil {
		s.counts.add("failed")
		return nil
	}
	if said.Error == "" {
		s.counts.add("accepted")
	}
	return []byte(text)
}

// who finds out of which node a token makes its bearer the agent; else the cause why of none.
func (s *Service) who(ctx context.Context, token string) (node, cause string, err error) {
	switch {
	case token == "":
		return "", "no-token", errors.New("it shows no token, and its certificate is no user's")
	case len(token) > maxToken:
		return "", "refused-token", errors.New("its token is too long")
	}
	ctx, cancel := context.WithTimeout(ctx, reviewFor)
	defer cancel()
	c, err := s.cfg.Reviewer.Review(ctx, token, s.cfg.Audience)
	switch {
	case errors.Is(err, ErrRefused):
		return "", "refused-token", err
	case err != nil:
		return "", "cluster-away", err
	case !s.users[c.User]:
		return "", "foreign-account", fmt.Errorf("%s is no agent", c.User)
	case c.Node == "":
		return "", "no-node", errors.New("the token does not say which node its pod runs on; Kubernetes 1.30 and later do")
	}
	return c.Node, "", nil
}

// user has the rights of a node's agent, and no others.
func (s *Service) user(key, node string) (string, error) {
	token := event.NodeToken(node)
	u := jwt.NewUserClaims(key)
	u.Name, u.Audience = token, s.cfg.Account
	u.Expires = time.Now().Add(s.cfg.Life).Unix()
	u.Permissions = rights(token)
	u.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket}
	return u.Encode(s.cfg.Issuer)
}

// Counters are requests by what became of them.
func (s *Service) Counters() map[string]uint64 { return s.counts.all() }

// counts are numbers by name, safe for concurrent use.
type counts struct {
	mu      sync.Mutex
	numbers map[string]uint64
	told    map[string]time.Time
}

func (c *counts) add(name string) {
	c.mu.Lock()
	c.numbers[name]++
	c.mu.Unlock()
}

// tell says whether a cause is worth a line again.
func (c *counts) tell(name string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.told[name]; ok && now.Sub(last) < complain {
		return false
	}
	c.told[name] = now
	return true
}

func (c *counts) all() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]uint64{"accepted": 0, "malformed": 0, "no-token": 0, "refused-token": 0, "cluster-away": 0, "foreign-account": 0, "no-node": 0, "too-many": 0, "unanswered": 0, "failed": 0}
	for name, n := range c.numbers {
		out[name] = n
	}
	return out
}
