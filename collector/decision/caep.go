package decision

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ambit-nhi/ambit/event"
)

// SessionRevoked is the event type of OpenID CAEP 1.0 that a quarantine is told as.
const SessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"

// CAEP pushes quarantines to a receiver of the Shared Signals Framework (RFC 8935) as signed security event tokens (RFC 8417): the sessions of an identity are over. Only
// a decision that enforces, toward everything, and names one identity says so much; others are passed over.
type CAEP struct {
	url, issuer, audience, authorization string
	signer                               jose.Signer
	public                               jose.JSONWebKey
	client                               *http.Client
	now                                  func() time.Time
}

// CAEPConfig says where tokens go, and how they are signed.
type CAEPConfig struct {
	URL           string // of the receiver
	Issuer        string // of the transmitter: https://…
	Audience      string // as the receiver wants it
	Authorization string // header for the receiver; empty: none
	Key           crypto.Signer
}

// NewCAEP makes a point. The key is of ed25519, of ECDSA on P-256, or of RSA with 2048 bits or more.
func NewCAEP(c CAEPConfig, client *http.Client) (*CAEP, error) {
	if err := checkAddress(c.URL); err != nil {
		return nil, fmt.Errorf("caep: %w", err)
	}
	if c.Issuer == "" || c.Audience == "" {
		return nil, errors.New("caep: issuer or audience is missing")
	}
	var algorithm jose.SignatureAlgorithm
	switch key := c.Key.(type) {
	case ed25519.PrivateKey:
		algorithm = jose.EdDSA
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			algorithm = jose.ES256
		}
	case *rsa.PrivateKey:
		if key.N.BitLen() >= 2048 {
			algorithm = jose.RS256
		}
	}
	if algorithm == "" {
		return nil, errors.New("caep: the key is not of ed25519, of ECDSA on P-256, or of RSA with 2048 bits or more")
	}
	public := jose.JSONWebKey{Key: c.Key.Public(), Algorithm: string(algorithm), Use: "sig"}
	print, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("caep: name the key: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(print)
	private := jose.JSONWebKey{Key: c.Key, KeyID: public.KeyID, Algorithm: string(algorithm)}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: private}, (&jose.SignerOptions{}).WithType("secevent+jwt"))
	if err != nil {
		return nil, fmt.Errorf("caep: use the key: %w", err)
	}
	return &CAEP{c.URL, c.Issuer, c.Audience, c.Authorization, signer, public, quiet(client), time.Now}, nil
}

// LoadSigner reads a private key of PKCS #8, SEC 1 or PKCS #1 in PEM.
func LoadSigner(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer clear(data)
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read the key %s: it is no PEM file", file)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		err = errors.New("its block is of another type")
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("read the key %s: it holds no private key that signs", file)
	}
	return signer, nil
}

// Keys are the public keys that tokens are signed with, for the receiver.
func (c *CAEP) Keys() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.public}}
}

// Name implements [Point].
func (c *CAEP) Name() string { return "caep" }

type securityEvent struct {
	Issuer   string                    `json:"iss"`
	Audience string                    `json:"aud"`
	IssuedAt int64                     `json:"iat"`
	ID       string                    `json:"jti"`
	Subject  subjectID                 `json:"sub_id"`
	Events   map[string]sessionRevoked `json:"events"`
}

// subjectID is as RFC 9493 has it.
type subjectID struct {
	Format string `json:"format"`
	URI    string `json:"uri"`
}

type sessionRevoked struct {
	At          int64             `json:"event_timestamp"` // seconds
	Initiator   string            `json:"initiating_entity"`
	ReasonAdmin map[string]string `json:"reason_admin"`
}

// token makes the token of a decision, "" if it says nothing about sessions.
func (c *CAEP) token(d *event.Decision) (string, error) {
	t, err := event.ParseTarget(d.To)
	if err != nil || t != (event.Target{Kind: event.TargetAny}) || d.Glob || d.Mode != event.Enforce || !d.Revoked.IsZero() {
		return "", nil
	}
	initiator := "admin"
	if d.Automatic {
		initiator = "policy"
	}
	data, err := json.Marshal(securityEvent{
		Issuer: c.issuer, Audience: c.audience, IssuedAt: c.now().Unix(), ID: d.ID + "-" + strconv.FormatUint(d.Serial, 10), Subject: subjectID{"uri", d.Identity},
		Events: map[string]sessionRevoked{SessionRevoked: {d.Issued.Unix(), initiator, map[string]string{"en": d.Reason}}},
	})
	if err != nil {
		return "", fmt.Errorf("%w: encode: %w", ErrPointless, err)
	}
	signed, err := c.signer.Sign(data)
	if err != nil {
		return "", fmt.Errorf("%w: sign: %w", ErrPointless, err)
	}
	return signed.CompactSerialize()
}

// Tell implements [Point].
func (c *CAEP) Tell(ctx context.Context, d *event.Decision) error {
	token, err := c.token(d)
	if err != nil || token == "" {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader([]byte(token)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPointless, err)
	}
	r.Header.Set("Content-Type", "application/secevent+jwt")
	r.Header.Set("Accept", "application/json")
	if c.authorization != "" {
		r.Header.Set("Authorization", c.authorization)
	}
	return send(c.client, r)
}
