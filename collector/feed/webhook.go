package feed

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// webhook posts documents. A receiver can tell a repetition by the uids in the body, or by Ambit-Delivery of the same batch.
type webhook struct {
	o    *opening
	path string
	url  string
	hmac []byte
	auth string
	http *http.Client
	now  func() time.Time
}

func checkWebhook(c *Config) error {
	switch {
	case c.URL == "" && c.URLFrom.isZero():
		return errors.New("url is missing")
	case c.URL != "" && !c.URLFrom.isZero():
		return errors.New("there are both url and url_from; one is enough")
	case c.URL == "":
		return nil // as soon as it is read
	}
	return c.checkURL(c.URL, "url", "https", "http")
}

func openWebhook(o *opening) (sender, error) {
	w, err := newWebhook(o, "")
	if err != nil {
		return nil, err
	}
	return w, nil
}

func openAlertmanager(o *opening) (sender, error) {
	w, err := newWebhook(o, "/api/v2/alerts")
	if err != nil {
		return nil, err
	}
	return w, nil
}

func newWebhook(o *opening, path string) (*webhook, error) {
	w := &webhook{o: o, path: path, url: o.URL, now: time.Now}
	if !o.URLFrom.isZero() {
		var err error
		if w.url, err = o.secret(o.URLFrom); err != nil {
			return nil, err
		}
		if err := o.checkURL(w.url, "the URL in "+o.URLFrom.where(), "https", "http"); err != nil {
			return nil, err
		}
	}
	w.url = strings.TrimSuffix(w.url, "/")
	if path == "" && o.URLFrom.isZero() {
		w.url = o.URL
	}
	key, err := o.secret(o.HMAC)
	if err != nil {
		return nil, err
	}
	w.hmac = []byte(key)
	token, err := o.secret(o.Token)
	if err != nil {
		return nil, err
	}
	if token != "" {
		w.auth = "Bearer " + token
	}
	config, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	w.http = &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // where secrets must not go
		Transport: &http.Transport{
			TLSClientConfig: config, TLSHandshakeTimeout: o.Timeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second,
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return w, nil
}

func (w *webhook) close() { w.http.CloseIdleConnections() }

func (w *webhook) send(ctx context.Context, docs []Document) (receipt, error) {
	if w.o.maker.join == nil {
		var got receipt
		for i := range docs {
			answer, err := w.post(ctx, docs[i].Body, docs[i].UID+"/"+strconv.FormatInt(docs[i].Time.UnixNano(), 10))
			if err != nil {
				return got, err
			}
			got.taken, got.answer = i+1, answer
		}
		return got, nil
	}
	bodies := make([][]byte, len(docs))
	for i := range docs {
		bodies[i] = docs[i].Body
	}
	answer, err := w.post(ctx, w.o.maker.join(bodies), docs[0].UID+"/"+strconv.FormatInt(docs[0].Time.UnixNano(), 10))
	if err != nil {
		return receipt{}, err
	}
	return receipt{len(docs), answer}, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 10

func (w *webhook) post(ctx context.Context, body []byte, delivery string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+w.path, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("make a request: the URL cannot be used") // the error would repeat it
	}
	r.Header.Set("Content-Type", w.o.maker.contentType)
	r.Header.Set("User-Agent", "Ambit/"+cmp.Or(w.o.making.Version, "devel"))
	r.Header.Set("Ambit-Feed", w.o.Name)
	r.Header.Set("Ambit-Delivery", header(delivery, 200))
	if w.auth != "" {
		r.Header.Set("Authorization", w.auth)
	}
	if len(w.hmac) > 0 {
		at := strconv.FormatInt(w.now().Unix(), 10)
		r.Header.Set("Ambit-Timestamp", at)
		r.Header.Set("Ambit-Signature", "sha256="+Sign(w.hmac, at, body))
	}
	answer, err := w.http.Do(r)
	if err != nil {
		return "", withoutURL(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 256<<10)) // so that the connection can be used again
	said := strings.TrimSpace(answer.Status + " " + string(text))
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return said, nil
	}
	return "", judge(answer, said, w.now())
}

// Sign gives the signature of a body: HMAC-SHA-256, in hex, of the timestamp, a dot and the body.
func Sign(key []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// judge makes a refusal of an answer. What is wrong with a document is final. What is wrong with the receiver, or with the right to use it, may
// change.
func judge(answer *http.Response, said string, now time.Time) error {
	r := &refusal{err: fmt.Errorf("the receiver answers %s", oneLine(said)), after: retryAfter(answer.Header.Get("Retry-After"), now)}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		r.final = true
	}
	return r
}

// maxAfter bounds how long a receiver may ask to wait.
const maxAfter = time.Hour

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
		return min(time.Duration(max(n, 0))*time.Second, maxAfter)
	}
	if t, err := http.ParseTime(text); err == nil {
		return max(0, min(t.Sub(now), maxAfter))
	}
	return 0
}

// withoutURL leaves out the URL, which may be a secret.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("post: %w", u.Err)
	}
	return err
}
