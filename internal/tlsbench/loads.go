package main

import (
	"fmt"
	"time"
)

// figure is what so many operations took, at both ends together.
type figure struct {
	cpu, wall time.Duration
	n         int
}

func (f figure) each() float64 { return float64(f.cpu.Nanoseconds()) / float64(f.n) }

// load is something that programs do.
type load struct {
	name       string
	unit       string
	handshakes bool // mutual TLS 1.3, at both ends here
	run        func() (figure, error)
}

// Names of those that have targets of their own.
const (
	loadOpenSSL = "OpenSSL"
	loadGo      = "Go crypto/tls"
)

func (s *stage) newLoads(length time.Duration) ([]*load, error) {
	openssl, err := s.newOpenSSL(length)
	if err != nil {
		return nil, err
	}
	loads := []*load{{loadOpenSSL, "handshake", true, openssl.run}}
	add := func(name, unit string, handshakes bool, of time.Duration, args ...string) error {
		w, err := s.worker(args[0]+fmt.Sprint(len(loads)), args...)
		if err != nil {
			return err
		}
		n, err := w.size(of)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		loads = append(loads, &load{name, unit, handshakes, func() (figure, error) { return w.do(n) }})
		return nil
	}
	if err := add(loadGo, "handshake", true, length, "handshakes", s.paper.folder); err != nil {
		return nil, err
	}
	for _, p := range plains {
		if err := add(p.name, p.unit, false, length/4, "plain", p.name); err != nil {
			return nil, err
		}
	}
	return loads, nil
}

// size says how many take some time.
func (w *worker) size(of time.Duration) (int, error) {
	for n := 64; ; n *= 4 {
		f, err := w.do(n)
		if err != nil {
			return 0, err
		}
		if f.cpu > 50*time.Millisecond {
			return max(1, int(float64(of)/f.each())), nil
		}
	}
}
