package decision

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Webhook posts decisions, as JSON, to a program that can act on them. The header Ambit-Signature proves that they come from Ambit, and when: t=<Unix time>,v1=<hex of
// HMAC-SHA256 of "<Unix time>.<body>">. A receiver refuses what is minutes old, so that nobody can send it again.
type Webhook struct {
	url    string
	secret []byte
	client *http.Client
	now    func() time.Time
}

// Delivery is the body that a [Webhook] posts.
type Delivery struct {
	Type     string          `json:"type"` // decision.issued, decision.revoked
	Decision *event.Decision `json:"decision"`
}

// SignatureHeader is where the proof of a delivery stands.
const SignatureHeader = "Ambit-Signature"

// minSecret is the shortest secret, in bytes.
const minSecret = 16

// NewWebhook makes a point for a URL, with the secret that the receiver has too.
func NewWebhook(address string, secret []byte, client *http.Client) (*Webhook, error) {
	if err := checkAddress(address); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	if len(secret) < minSecret {
		return nil, fmt.Errorf("webhook: the secret is shorter than %d bytes", minSecret)
	}
	return &Webhook{address, secret, quiet(client), time.Now}, nil
}

// checkAddress refuses addresses where others could read or change what is sent. Its errors do not show what may be a password.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return errors.New("the URL is not like https://receiver.example/path")
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && !(u.Scheme == "http" && (ip.Unmap().IsLoopback() || u.Hostname() == "localhost")) {
		return fmt.Errorf("the URL is of %s: use https, since others could read or change decisions", u.Host)
	}
	return nil
}

// quiet is a client that follows no redirect: the signature is for the one that was named.
func quiet(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Name implements [Point].
func (w *Webhook) Name() string { return "webhook" }

// Tell implements [Point].
func (w *Webhook) Tell(ctx context.Context, d *event.Decision) error {
	kind := "decision.issued"
	if !d.Revoked.IsZero() {
		kind = "decision.revoked"
	}
	body, err := json.Marshal(Delivery{kind, d})
	if err != nil {
		return fmt.Errorf("%w: encode: %w", ErrPointless, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPointless, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", d.ID+"/"+strconv.FormatUint(d.Serial, 10))
	r.Header.Set(SignatureHeader, signBody(w.secret, w.now(), body))
	return send(w.client, r)
}

func signBody(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(t + "."))
	h.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}

// send wants an answer of success. What the receiver calls the sender's fault is not tried again, but for those that time may heal.
func send(client *http.Client, r *http.Request) error {
	answer, err := client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL may hold a password
		}
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("it answers %s", answer.Status)
	default:
		return fmt.Errorf("%w: it answers %s", ErrPointless, answer.Status)
	}
}
