package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// sender delivers documents. It is used by one goroutine at a time. It connects when it must, and again after a failure.
type sender interface {
	// send delivers documents in their order. The receipt says how many of the first ones the receiver has taken for certain; with an error, the
	// others may or may not have arrived, and are sent again.
	send(ctx context.Context, docs []Document) (receipt, error)
	close()
}

// receipt is what a receiver said.
type receipt struct {
	taken  int
	answer string // for people; may hold what the receiver wrote
}

// refusal is an answer of a receiver that does not take what it was sent.
type refusal struct {
	final bool          // the same document will be refused again; else the receiver may take it later
	after time.Duration // it asks not to be tried before; 0: it did not say
	err   error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refusedForGood(format string, args ...any) error {
	return &refusal{final: true, err: fmt.Errorf(format, args...)}
}

// final says whether the error is about the documents, not about the receiver or the way to it.
func final(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.final
}

// transport is one way to deliver.
type transport struct {
	format string // usual one
	only   string // the only one, or ""
	keys   []string
	check  func(c *Config) error
	open   func(o *opening) (sender, error)
}

// opening is what a sender is made of.
type opening struct {
	*Config
	maker  maker
	making *making
	veil   *veil
	js     jetstream.JetStream // of Ambit's own stream
	test   bool                // for one document, while another sender may be at work
}

// secret reads one, and hides it from what others see.
func (o *opening) secret(s Secret) (string, error) {
	value, err := s.read()
	if err == nil && value != "" {
		o.veil.hide(value)
	}
	return value, err
}

var transports map[string]transport

func init() { // a literal would be a cycle: checks look names up
	transports = map[string]transport{
		"nats":         {"ocsf", "", []string{"url", "subject", "token", "user", "tls", "plain"}, checkNATS, openNATS},
		"webhook":      {"json", "", []string{"url", "url_from", "token", "hmac", "tls", "plain"}, checkWebhook, openWebhook},
		"slack":        {"slack", "slack", []string{"url", "url_from", "tls", "plain"}, checkWebhook, openWebhook},
		"alertmanager": {"alertmanager", "alertmanager", []string{"url", "url_from", "token", "tls", "plain"}, checkWebhook, openAlertmanager},
		"syslog":       {"rfc5424", "", []string{"address", "network", "tls", "plain"}, checkSyslog, openSyslog},
		"file":         {"ocsf", "", []string{"path"}, checkFile, openFile},
		"stdout":       {"json", "", nil, func(*Config) error { return nil }, openStdout},
		"kafka":        {"ocsf", "", []string{"brokers", "topic", "user", "token", "sasl", "tls", "plain"}, checkKafka, openKafka},
		"otlp":         {"ocsf", "", []string{"url", "protocol", "token", "tls", "plain"}, checkOTLP, openOTLP},
	}
}
