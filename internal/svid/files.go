package svid

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// maxFile bounds each file.
const maxFile = 1 << 20

// contents are those of the three files: certificate, key, authorities.
type contents [3][]byte

func (c contents) equal(d contents) bool { return slices.EqualFunc(c[:], d[:], bytes.Equal) }

// follow looks at the files until ctx ends. They are read, not watched: a rename, and a folder that is swapped as Kubernetes does, are then no
// special cases. What changed is taken when it was the same twice, since whoever writes may be in the middle.
func (s *Source) follow(ctx context.Context) error {
	taken, err := s.readFiles()
	if err != nil {
		return err
	}
	m, err := s.parseFiles(taken)
	if err != nil {
		return err
	}
	if err := m.check(s.now()); err != nil {
		return fmt.Errorf("use %s: %w", s.cfg.Cert, err)
	}
	s.install(m)
	last := taken
	for tick := time.NewTicker(s.cfg.Poll); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		read, err := s.readFiles()
		if err != nil {
			s.failFiles(err)
			continue
		}
		steady := read.equal(last)
		last = read
		if !steady {
			continue
		}
		if read.equal(taken) {
			s.recover()
			continue
		}
		m, err := s.parseFiles(read)
		if err != nil {
			s.failFiles(err)
			continue
		}
		s.install(m)
		taken = read
	}
}

// failFiles notes a fault, counted once for each reason.
func (s *Source) failFiles(err error) {
	s.mu.RLock()
	known := s.fault.words != "" && s.fault.reason == oneLine(err)
	s.mu.RUnlock()
	if !known {
		s.fail(unreadable, "unreadable", err)
	}
}

// recover ends a fault when the files are again what they were.
func (s *Source) recover() {
	s.mu.Lock()
	was := s.fault.words
	s.fault.words = ""
	s.mu.Unlock()
	if was != "" {
		s.tell(slog.LevelWarn, "the "+s.origin()+" is back")
	}
}

func (s *Source) readFiles() (c contents, err error) {
	for i, name := range []string{s.cfg.Cert, s.cfg.Key, s.cfg.CA} {
		if c[i], err = readFile(name); err != nil {
			return c, err
		}
	}
	return c, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err // names the file
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s: it is larger than 1 MiB", name)
	}
	return data, nil
}

// parseFiles makes material of whole files. Its errors never show what is in the key.
func (s *Source) parseFiles(c contents) (*material, error) {
	if _, err := certificates(c[0]); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.cfg.Cert, err)
	}
	roots, err := certificates(c[2])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.cfg.CA, err)
	}
	own, err := tls.X509KeyPair(c[0], c[1])
	if err != nil {
		return nil, fmt.Errorf("use the certificate %s with the key %s: %w", s.cfg.Cert, s.cfg.Key, err)
	}
	m := &material{own: &own, bundles: x509bundle.NewSet(), files: roots}
	if id, err := x509svid.IDFromCert(own.Leaf); err == nil {
		m.id = id
		m.bundles.Add(x509bundle.FromX509Authorities(id.TrustDomain(), roots))
	}
	return m, nil
}

// certificates reads all certificates of a PEM file, and refuses one that breaks off.
func certificates(data []byte) (out []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d of it: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, errors.New("it breaks off in the middle of a PEM block")
	}
	if len(out) == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return out, nil
}
