package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
)

const defaultServer = "http://127.0.0.1:8480"

// client speaks to the API.
type client struct {
	base  string
	http  *http.Client
	token string // sent with questions, too; empty: with changes only
}

func serverFlag(cmd *cobra.Command) *string {
	server := os.Getenv("AMBIT_SERVER")
	if server == "" {
		server = defaultServer
	}
	return cmd.Flags().String("server", server, "URL of Ambit's API")
}

func newClient(server string) (*client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, usagef("server %q is not a URL such as %s", server, defaultServer)
	}
	c := &client{base: u.Scheme + "://" + u.Host, http: &http.Client{}}
	if u.Scheme == "https" {
		if c.http.Transport, err = clientTransport(); err != nil {
			return nil, usageError(err)
		}
	}
	if os.Getenv("AMBIT_TOKEN_FILE") != "" { // who names one means to be known
		if c.token, err = findToken(""); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// clientTransport believes the authorities of AMBIT_CA_FILE, or those of this machine, and shows the certificate of AMBIT_CERT_FILE, if there is one.
func clientTransport() (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("AMBIT_CA_FILE"); file != "" {
		pool, err := readPool(file)
		if err != nil {
			return nil, fmt.Errorf("AMBIT_CA_FILE: %w", err)
		}
		config.RootCAs = pool
	}
	if file := os.Getenv("AMBIT_CERT_FILE"); file != "" {
		own, err := tls.LoadX509KeyPair(file, os.Getenv("AMBIT_KEY_FILE"))
		if err != nil {
			return nil, fmt.Errorf("AMBIT_CERT_FILE and AMBIT_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true}, nil
}

// secret says whether what is sent stays between the two ends.
func (c *client) secret() bool {
	u, err := url.Parse(c.base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// Asking again after too many requests.
const (
	askAgain    = 5
	longestWait = 10 * time.Second
)

// maxAnswer bounds what one answer may hold.
const maxAnswer = 256 << 20

// get reads one JSON answer into v.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := c.open(ctx, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer of %s: %w; is it Ambit, and of this version?", c.base, err)
	}
	return nil
}

// open sends a GET and gives the body of a good answer.
func (c *client) open(ctx context.Context, path string, query url.Values, header http.Header) (io.ReadCloser, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return c.do(r)
}

// patch changes what is at path, with the token that allows it, and reads the answer into v.
func (c *client) patch(ctx context.Context, path, token string, change, v any) error {
	body, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode a change: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := c.do(r)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer of %s: %w; is it Ambit, and of this version?", c.base, err)
	}
	return nil
}

// importTime is how long a list may take.
const importTime = 10 * time.Minute

// post sends a body of some length, with the token that allows it, and reads the answer into v.
func (c *client) post(ctx context.Context, path string, query url.Values, token, kind string, body io.Reader, length int64, v any) error {
	ctx, cancel := context.WithTimeout(ctx, importTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path+"?"+query.Encode(), body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base, err)
	}
	r.ContentLength = length
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := c.do(r)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer of %s: %w; is it Ambit, and of this version?", c.base, err)
	}
	return nil
}

// do sends a request and gives the body of a good answer.
func (c *client) do(r *http.Request) (io.ReadCloser, error) {
	if c.token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.Header.Get("Authorization") != "" && !c.secret() {
		return nil, usagef("a token would be sent to %s in the clear: use https, or a tunnel to a loopback address", c.base)
	}
	answer, err := c.http.Do(r)
	for n := 0; err == nil && answer.StatusCode == http.StatusTooManyRequests && r.Body == nil && n < askAgain; n++ {
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		answer.Body.Close()
		select {
		case <-time.After(min(time.Duration(max(seconds, 1))*time.Second, longestWait)):
		case <-r.Context().Done():
		}
		answer, err = c.http.Do(r)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var p api.Problem
	if json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&p) != nil || p.Status == 0 {
		return nil, fmt.Errorf("%s answers %s; is it Ambit?", c.base, answer.Status)
	}
	if p.Status == http.StatusBadRequest {
		return nil, usageError(&p)
	}
	return nil, &p
}

func (c *client) explain(err error) error {
	var op *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no Ambit answers at %s: start it with `ambit up`, or name another with --server or AMBIT_SERVER", c.base)
	}
	if errors.As(err, &op) {
		return fmt.Errorf("reach Ambit at %s: %w; name another with --server or AMBIT_SERVER", c.base, op.Err)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("ask Ambit at %s: %w", c.base, err)
}

// list reads all pages of a list, or as many items as limit, if it is not 0.
func list[T any](ctx context.Context, c *client, path string, query url.Values, limit int) (*api.Page[T], error) {
	all := &api.Page[T]{Items: []T{}}
	for {
		want := 1000
		if limit > 0 {
			want = min(want, limit-len(all.Items))
		}
		query.Set("limit", fmt.Sprint(want))
		var page api.Page[T]
		if err := c.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		all.Items = append(all.Items, page.Items...)
		if page.NextCursor == "" || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// limitFlag bounds a list; 0 is all.
func limitFlag(cmd *cobra.Command) *int {
	return cmd.Flags().Int("limit", 0, "at most so many items; 0 is all")
}

func checkLimit(n int) error {
	if n < 0 {
		return usagef("limit %d is negative", n)
	}
	return nil
}
