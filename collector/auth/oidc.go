package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/collector/api"
)

// OIDCConfig says whose tokens are believed.
type OIDCConfig struct {
	Issuer   string
	Audience string       // of the tokens: who Ambit is to the provider
	Claim    string       // whose value, or one of its values, gives the role; default groups
	Name     string       // claim that names the person; default sub
	Grants   []Grant      // by values of the claim
	Client   *http.Client // nil: the default one

	ClientID     string   // by which people log in with a browser, and another audience of tokens; empty: nobody does
	ClientSecret string   // empty: a public client
	Scopes       []string // that are asked for beside openid
}

// Validate says what is wrong.
func (c *OIDCConfig) Validate() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost")):
		return fmt.Errorf("issuer %.200q is not an https URL: its keys would not be its own", c.Issuer)
	case c.Audience == "":
		return errors.New("audience is not set: tokens for other programs would be taken")
	case len(c.Grants) == 0:
		return errors.New("roles are not set: nobody could do anything")
	}
	return nil
}

// OIDC authenticates by the tokens of an OpenID provider. It asks the provider for its keys when the first token comes, so that a provider that is away
// does not keep Ambit from starting. It is safe for concurrent use.
type OIDC struct {
	exchange *http.Client // of codes
	cfg      OIDCConfig
	now      func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
	asked    time.Time
	err      error
}

// Bounds of asking the provider.
const (
	discoverTime  = 10 * time.Second
	discoverAgain = 5 * time.Second // after a failure
	askRate       = 1               // questions per second
	askBurst      = 20              //
	exchangeRate  = 20              // codes per second that are exchanged, of all addresses together
	exchangeBurst = 100             //
	maxJWT        = 16 << 10        // bytes
	maxValues     = 1000            // of the claim
)

// algorithms are asymmetric ones only: with others a public key could be taken for a secret.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// NewOIDC makes an authenticator. It asks nobody yet.
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	if cfg.Claim == "" {
		cfg.Claim = "groups"
	}
	if cfg.Name == "" {
		cfg.Name = "sub"
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: discoverTime}
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client := *cfg.Client
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	exchange := client // has a budget of its own: who comes back with codes that nobody gave does not keep new keys from being fetched
	exchange.Transport = &paced{client.Transport, rate.NewLimiter(exchangeRate, exchangeBurst)}
	client.Transport = &paced{client.Transport, rate.NewLimiter(askRate, askBurst)}
	cfg.Client = &client
	return &OIDC{cfg: cfg, exchange: &exchange, now: time.Now}, nil
}

// paced bounds what the provider is asked: each token that its known keys have not signed, also one that anybody made up, has it asked for new ones.
type paced struct {
	http.RoundTripper
	limit *rate.Limiter
}

// RoundTrip implements [http.RoundTripper].
func (p *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if !p.limit.Allow() {
		return nil, errors.New("the provider was asked too often just now; try again in a few seconds")
	}
	return p.RoundTripper.RoundTrip(r)
}

// provider gives what verifies tokens. Keys that are not known are asked for again by it.
func (o *OIDC) provider() (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier != nil {
		return o.verifier, nil
	}
	if o.err != nil && o.now().Sub(o.asked) < discoverAgain {
		return nil, o.err
	}
	// Not the request's context: the key set goes on with it.
	ctx := oidc.ClientContext(context.Background(), o.cfg.Client)
	p, err := oidc.NewProvider(ctx, o.cfg.Issuer)
	o.asked, o.err = o.now(), err
	if err != nil {
		return nil, err
	}
	o.endpoint = p.Endpoint()
	o.verifier = p.VerifierContext(ctx, &oidc.Config{SkipClientIDCheck: true, // there are two
		SupportedSigningAlgs: algorithms, Now: o.now})
	return o.verifier, nil
}

// Authenticate implements [api.Authenticator].
func (o *OIDC) Authenticate(r *http.Request) (api.Principal, bool, error) {
	text, ok := bearer(r)
	if !ok || strings.Count(text, ".") != 2 {
		return api.Principal{}, false, nil
	}
	if len(text) > maxJWT {
		return api.Principal{}, false, api.Unauthorized("the token is longer than %d bytes", maxJWT)
	}
	verifier, err := o.provider()
	if err != nil {
		return api.Principal{}, false, fmt.Errorf("%w: %w", api.Unavailable("the OpenID provider %s does not answer; try again in %s", o.cfg.Issuer, discoverAgain), err)
	}
	token, err := verifier.Verify(r.Context(), text)
	if err != nil {
		return api.Principal{}, false, api.Unauthorized("the token is not accepted: %s", reason(err))
	}
	if !o.ours(token) {
		return api.Principal{}, false, api.Unauthorized("the token is not accepted: it is for %.200q", token.Audience)
	}
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return api.Principal{}, false, api.Unauthorized("the token's claims cannot be read")
	}
	name, _ := claims[o.cfg.Name].(string)
	if name == "" {
		return api.Principal{}, false, api.Unauthorized("the token has no claim %s", o.cfg.Name)
	}
	role := api.Nobody
	for _, value := range values(claims[o.cfg.Claim]) {
		role = max(role, granted(o.cfg.Grants, value))
	}
	if role == api.Nobody {
		return api.Principal{}, false, api.Forbidden("none of the token's %s has a role here", o.cfg.Claim)
	}
	return api.Principal{Name: "oidc:" + name, Role: role}, true, nil
}

// ours says whether a token is for Ambit. Another client of the same provider may get tokens for itself alone.
func (o *OIDC) ours(token *oidc.IDToken) bool {
	return slices.Contains(token.Audience, o.cfg.Audience) || o.cfg.ClientID != "" && slices.Contains(token.Audience, o.cfg.ClientID)
}

// values are the texts of a claim.
func values(claim any) (out []string) {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		for _, v := range c[:min(len(c), maxValues)] {
			if text, ok := v.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

// reason is short, and does not repeat the token.
func reason(err error) string {
	var expired *oidc.TokenExpiredError
	if errors.As(err, &expired) {
		return "it has expired"
	}
	text := strings.TrimPrefix(err.Error(), "oidc: ")
	text, _, _ = strings.Cut(text, "\n")
	return fmt.Sprintf("%.200s", text)
}
