package feed

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/nearest"
)

// Config is one output.
type Config struct {
	Name      string `mapstructure:"name"`
	Transport string `mapstructure:"transport"` // see Transports
	Format    string `mapstructure:"format"`    // see Formats; empty: the transport's usual one
	Off       bool   `mapstructure:"off"`       // nothing is sent; where it stopped is kept
	Send      []Kind `mapstructure:"send"`      // findings, observations, decisions; empty: findings
	From      string `mapstructure:"from"`      // where a new feed begins: now (default), or all that is in the stream
	Updates   string `mapstructure:"updates"`   // of findings that were sent: all, changes (of severity or status), none; empty: as the format does

	Filter Filter            `mapstructure:"filter"`
	Batch  Batch             `mapstructure:"batch"`
	Rate   Rate              `mapstructure:"rate"`
	Labels map[string]string `mapstructure:"labels"` // on everything that is sent

	URL      string `mapstructure:"url"`       // of a webhook, Alertmanager, OTLP receiver, NATS server (empty: Ambit's own)
	URLFrom  Secret `mapstructure:"url_from"`  // where the URL is, when it is a secret itself
	Token    Secret `mapstructure:"token"`     // for Authorization: Bearer; of NATS and Kafka the password
	User     string `mapstructure:"user"`      // of NATS and Kafka
	HMAC     Secret `mapstructure:"hmac"`      // signs the bodies of a webhook
	TLS      TLS    `mapstructure:"tls"`       //
	Plain    bool   `mapstructure:"plain"`     // allows a connection without TLS to another machine
	Address  string `mapstructure:"address"`   // of syslog: host:port, or the path of a socket
	Network  string `mapstructure:"network"`   // of syslog: tls (default), tcp, udp, unix
	Subject  string `mapstructure:"subject"`   // of NATS; {severity}, {rule}, {namespace} and {owner} stand for those of the finding
	Topic    string `mapstructure:"topic"`     // of Kafka; likewise
	Path     string `mapstructure:"path"`      // of a file
	MaxBytes int64  `mapstructure:"max_bytes"` // of a file, before it is rotated; default 100 MiB
	Keep     int    `mapstructure:"keep"`      // rotated files; default 5
	Brokers  []string
	SASL     string `mapstructure:"sasl"` // of Kafka: plain, scram-sha-256, scram-sha-512
	Protocol string `mapstructure:"protocol"`
	Channel  string `mapstructure:"channel"` // of Slack, where the webhook allows to choose
	Link     string `mapstructure:"link"`    // base URL of Ambit as people reach it

	Timeout  time.Duration `mapstructure:"timeout"`  // of one attempt; default 10s
	Patience time.Duration `mapstructure:"patience"` // how long what a receiver refuses for good holds up what is behind it; default 15m
	Hold     time.Duration `mapstructure:"hold"`     // how long Alertmanager keeps an alert without news; default 24h
	Silences bool          `mapstructure:"silences"` // of Alertmanager suppress findings here
}

// Filter chooses what a feed sends. A list holds texts with * for anything, of which one must fit, and none of those that begin with !; all
// lists that are not empty must fit.
type Filter struct {
	Severity  event.Severity `mapstructure:"severity"` // the least
	Rule      []string       `mapstructure:"rule"`
	Namespace []string       `mapstructure:"namespace"`
	Owner     []string       `mapstructure:"owner"`    // as the inventory has it
	Identity  []string       `mapstructure:"identity"` //
	Unrouted  bool           `mapstructure:"unrouted"` // only what no other feed with a filter for owners takes
}

// Batch says how much is sent at once.
type Batch struct {
	Size int           `mapstructure:"size"` // default 500
	Wait time.Duration `mapstructure:"wait"` // for more to come; default 0: what is there is sent at once
}

// Rate bounds how many records are sent; the rest of the time is told in one summary.
type Rate struct {
	Limit int           `mapstructure:"limit"` // 0: no bound
	Per   time.Duration `mapstructure:"per"`   // default 1m
}

const (
	maxFeeds = 64
	maxBatch = 2000
)

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?$`)

// Formats and Transports are the words that a configuration may use.
func Formats() []string    { return sortedKeys(formats) }
func Transports() []string { return sortedKeys(transports) }

// Parse reads the outputs as a configuration has them: a list of {name: …, transport: …}. All faults are told. Values are not repeated:
// one may be a secret in the wrong place.
func Parse(list []map[string]any) ([]Config, error) {
	if len(list) > maxFeeds {
		return nil, fmt.Errorf("feeds: there are %d, at most %d are allowed", len(list), maxFeeds)
	}
	var out []Config
	var faults []error
	names := map[string]bool{}
	for i, m := range list {
		c, err := parse(m)
		where := fmt.Sprintf("feeds: number %d", i+1)
		if validName.MatchString(c.Name) {
			where = "feeds: " + c.Name
		}
		if err == nil && names[c.Name] {
			err = errors.New("there is another one of this name")
		}
		names[c.Name] = true
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				faults = append(faults, fmt.Errorf("%s: %s", where, line))
			}
			continue
		}
		out = append(out, c)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return out, nil
}

func parse(m map[string]any) (Config, error) {
	var c Config
	var seen mapstructure.Metadata
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &c, Metadata: &seen,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToWeakSliceHookFunc(","))})
	if err != nil {
		return c, err
	}
	if err := d.Decode(m); err != nil {
		return c, errors.New(decodeFault(err))
	}
	slices.Sort(seen.Unused)
	var faults []error
	for _, key := range seen.Unused {
		faults = append(faults, fmt.Errorf("unknown key %s%s", key, keyHint(key)))
	}
	if len(faults) > 0 {
		return c, errors.Join(faults...)
	}
	c.setDefaults()
	return c, c.validate()
}

// decodeFault makes one line of what the decoder found, without the values.
func decodeFault(err error) string {
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		line = strings.Trim(line, " \t*-")
		line, _, _ = strings.Cut(line, ", value: ")
		if i := strings.Index(line, "time: "); i >= 0 { // it repeats what it could not read
			line = line[:i] + "it is no duration, such as 10s"
		}
		if line != "" && !strings.HasPrefix(line, "decoding failed") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// keyHint looks for the nearest key of the same place.
func keyHint(key string) string {
	var known []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			name := prefix + cmp.Or(f.Tag.Get("mapstructure"), strings.ToLower(f.Name))
			known = append(known, name)
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, name+".")
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return nearest.Hint(key, known)
}

func (c *Config) setDefaults() {
	t := transports[c.Transport]
	c.Format = cmp.Or(c.Format, t.format)
	if len(c.Send) == 0 {
		c.Send = []Kind{KindFinding}
	}
	c.From = cmp.Or(c.From, "now")
	c.Updates = cmp.Or(c.Updates, formats[c.Format].updates)
	c.Batch.Size = cmp.Or(c.Batch.Size, 500)
	c.Rate.Per = cmp.Or(c.Rate.Per, time.Minute)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Patience = cmp.Or(c.Patience, 15*time.Minute)
	c.Hold = cmp.Or(c.Hold, 24*time.Hour)
	c.MaxBytes = cmp.Or(c.MaxBytes, 100<<20)
	c.Keep = cmp.Or(c.Keep, 5)
	if c.Transport == "syslog" {
		c.Network = cmp.Or(c.Network, "tls")
	}
	if c.Transport == "otlp" {
		c.Protocol = cmp.Or(c.Protocol, "http")
	}
}

func (c *Config) validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !validName.MatchString(c.Name) {
		bad("name is missing, or not made of at most 40 of a-z, 0-9, - and _")
	}
	t, ok := transports[c.Transport]
	if !ok {
		bad("transport is not one of %s%s", strings.Join(Transports(), ", "), nearest.Hint(c.Transport, Transports()))
		return errors.Join(faults...)
	}
	f, ok := formats[c.Format]
	if !ok {
		bad("format is not one of %s%s", strings.Join(Formats(), ", "), nearest.Hint(c.Format, Formats()))
		return errors.Join(faults...)
	}
	if t.only != "" && c.Format != t.only {
		bad("the transport %s takes the format %s only", c.Transport, t.only)
	}
	for _, k := range c.Send {
		if !slices.Contains(kinds, k) {
			bad("send: %q is not findings, observations or decisions", k)
		} else if !slices.Contains(f.kinds, k) {
			bad("the format %s has no %s", c.Format, k)
		}
	}
	oneOf(&faults, "from", c.From, "now", "all")
	oneOf(&faults, "updates", c.Updates, "all", "changes", "none")
	if s := c.Filter.Severity; s != "" {
		oneOf(&faults, "filter.severity", string(s), "info", "low", "medium", "high", "critical")
	}
	for key, list := range map[string][]string{"rule": c.Filter.Rule, "namespace": c.Filter.Namespace, "owner": c.Filter.Owner, "identity": c.Filter.Identity} {
		if slices.Contains(list, "") || slices.Contains(list, "!") {
			bad("filter.%s: an empty text fits nobody; use * for anything", key)
		}
	}
	if c.Batch.Size < 1 || c.Batch.Size > maxBatch {
		bad("batch.size is not from 1 to %d", maxBatch)
	}
	if c.Batch.Wait < 0 || c.Batch.Wait > time.Minute {
		bad("batch.wait is not from 0s to 1m")
	}
	if c.Rate.Limit < 0 || c.Rate.Per < time.Second || c.Rate.Per > 24*time.Hour {
		bad("rate.limit is below 0, or rate.per not from 1s to 24h")
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 10*time.Minute {
		bad("timeout is not from 100ms to 10m")
	}
	if c.Patience < 0 || c.Hold < time.Minute {
		bad("patience is below 0s, or hold below 1m")
	}
	if len(c.Labels) > 32 {
		bad("there are more than 32 labels")
	}
	for k := range c.Labels {
		if !validLabel.MatchString(k) {
			bad("labels: a name is not made of letters, digits and _")
		}
	}
	for key, s := range map[string]Secret{"url_from": c.URLFrom, "token": c.Token, "hmac": c.HMAC} {
		if err := s.validate(); err != nil {
			bad("%s %w", key, err)
		}
	}
	if err := c.TLS.validate(); err != nil {
		faults = append(faults, err)
	}
	if c.Silences && c.Transport != "alertmanager" {
		bad("silences are for the transport alertmanager only")
	}
	for _, key := range c.foreign(t) {
		bad("%s is not for the transport %s", key, c.Transport)
	}
	if len(faults) == 0 {
		if err := t.check(c); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

var validLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,63}$`)

func oneOf(faults *[]error, key, value string, words ...string) {
	if !slices.Contains(words, value) {
		*faults = append(*faults, fmt.Errorf("%s is not one of %s%s", key, strings.Join(words, ", "), nearest.Hint(value, words)))
	}
}

// foreign are the keys that are set, and that the transport does not use: somebody meant something that would not happen.
func (c *Config) foreign(t transport) (out []string) {
	set := map[string]bool{
		"url": c.URL != "", "url_from": !c.URLFrom.isZero(), "token": !c.Token.isZero(), "user": c.User != "", "hmac": !c.HMAC.isZero(), "tls": !c.TLS.isZero(),
		"plain": c.Plain, "address": c.Address != "", "network": c.Network != "", "subject": c.Subject != "", "topic": c.Topic != "", "path": c.Path != "",
		"brokers": len(c.Brokers) > 0, "sasl": c.SASL != "", "protocol": c.Protocol != "",
	}
	for _, key := range sortedKeys(set) {
		if set[key] && !slices.Contains(t.keys, key) {
			out = append(out, key)
		}
	}
	return out
}

// checkURL wants a URL that keeps secrets, unless plain is set. Its error does not repeat it.
func (c *Config) checkURL(text, key string, secure, plain string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%s is not a URL such as %s://siem.example.com/path", key, secure)
	}
	if u.User != nil {
		return fmt.Errorf("%s holds a password: put it into a file or the environment, with token", key)
	}
	switch u.Scheme {
	case secure:
		return nil
	case plain:
		if c.Plain || loopback(u.Hostname()) {
			return nil
		}
		return fmt.Errorf("%s is a plain connection to another machine: use %s://, or allow it with plain: true", key, secure)
	}
	return fmt.Errorf("%s begins with neither %s:// nor %s://", key, secure, plain)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// checkAddress wants host:port, of another machine only with TLS or plain.
func (c *Config) checkAddress(address, key string, encrypted bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("%s is not a host and a port, such as siem.example.com:6514", key)
	}
	if !encrypted && !c.Plain && !loopback(host) {
		return fmt.Errorf("%s is a plain connection to another machine: use TLS, or allow it with plain: true", key)
	}
	return nil
}

func checkPath(path, key string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is not an absolute path", key)
	}
	return nil
}
