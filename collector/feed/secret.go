package feed

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 16 << 10

// Secret says where a secret is. Its value is read when it is needed, so that a changed file counts at the next connection, and is never part
// of a configuration that is shown.
type Secret struct {
	File string `mapstructure:"file"`
	Env  string `mapstructure:"env"`
}

func (s Secret) isZero() bool { return s == Secret{} }

func (s Secret) validate() error {
	if s.File != "" && s.Env != "" {
		return errors.New("has both a file and an environment variable; one is enough")
	}
	return nil
}

// read gives the value; "" where there is none to read.
func (s Secret) read() (string, error) {
	var value string
	switch {
	case s.isZero():
		return "", nil
	case s.File != "":
		info, err := os.Stat(s.File)
		if err != nil {
			return "", fmt.Errorf("read a secret: %w", err)
		}
		if info.Size() > maxSecret {
			return "", fmt.Errorf("read a secret: %s is larger than %d bytes", s.File, maxSecret)
		}
		data, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read a secret: %w", err)
		}
		value = strings.TrimRight(string(data), "\r\n")
	default:
		value = os.Getenv(s.Env)
	}
	if value == "" {
		return "", fmt.Errorf("read a secret: %s is empty", s.where())
	}
	return value, nil
}

func (s Secret) where() string {
	if s.File != "" {
		return s.File
	}
	return "environment variable " + s.Env
}

// veil takes secrets out of texts that others see: errors, and answers of receivers, who may repeat what they were told. It is safe for concurrent
// use.
type veil struct {
	mu      sync.Mutex
	secrets []string // the longest first
}

// maxVeiled bounds them; the oldest were replaced long ago.
const maxVeiled = 64

const veiled = "[secret]"

// hide has a value, and what stands for it in URLs, taken out from now on. Values of a few bytes would take out everything.
func (v *veil) hide(value string) {
	if len(value) < 4 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Contains(v.secrets, value) {
		return
	}
	if len(v.secrets) > maxVeiled {
		v.secrets = nil
	}
	v.secrets = append(v.secrets, value)
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == '/' || r == '?' || r == '&' || r == '=' || r == '@' }) {
		if len(part) >= 12 && !strings.Contains(part, ".") { // the token in a webhook's path
			v.secrets = append(v.secrets, part)
		}
	}
	slices.SortStableFunc(v.secrets, func(a, b string) int { return len(b) - len(a) })
}

func (v *veil) text(s string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, secret := range v.secrets {
		s = strings.ReplaceAll(s, secret, veiled)
	}
	return s
}

// maxTold bounds what is shown of an error or an answer, in bytes.
const maxTold = 500

// told is what may be shown of an error, in one line.
func (v *veil) told(err error) string {
	if err == nil {
		return ""
	}
	return clipTo(oneLine(v.text(err.Error())), maxTold)
}

// TLS says how a connection is encrypted.
type TLS struct {
	CA         string `mapstructure:"ca"`          // file of authorities that sign the receiver; empty: those of the machine
	Cert       string `mapstructure:"cert"`        // own certificate, with key
	Key        string `mapstructure:"key"`         //
	ServerName string `mapstructure:"server_name"` // whom the receiver's certificate must name, if not the host that is dialled
}

func (t TLS) isZero() bool { return t == TLS{} }

func (t TLS) validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("tls.cert and tls.key go together")
	}
	return nil
}

// config reads the files, so that renewed certificates count at the next connection.
func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read tls.ca: %s holds no certificate in PEM", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert and tls.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
