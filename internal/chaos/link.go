package main

import (
	"bytes"
	"io"
	"net"
	"sync"
)

// link passes connections on to another address, until it is cut: then all that is sent over it vanishes, and nobody is told, as in a network whose
// cable is pulled. It is safe for concurrent use.
type link struct {
	listener net.Listener
	dial     func() (net.Conn, error)

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool // both ends
	watch func(sent []byte) // sees what is sent to the other address; nil: nobody does
}

func newLink(dial func() (net.Conn, error)) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, dial: dial, conns: map[net.Conn]bool{}}
	go k.accept()
	return k, nil
}

func (k *link) address() string { return k.listener.Addr().String() }

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		go k.pass(c)
	}
}

func (k *link) pass(near net.Conn) {
	defer k.forget(near)
	if !k.hold(near) { // nobody answers
		_, _ = io.Copy(io.Discard, near)
		return
	}
	far, err := k.dial()
	if err != nil {
		return
	}
	defer k.forget(far)
	k.hold(far)
	var both sync.WaitGroup
	both.Go(func() { k.copy(far, near, true) })
	both.Go(func() { k.copy(near, far, false) })
	both.Wait()
}

// copy passes bytes on, and drops them while the link is cut.
func (k *link) copy(to, from net.Conn, sent bool) {
	defer func() { // one end is gone, so is the other
		to.Close()
		from.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			k.mu.Lock()
			cut, watch := k.cut, k.watch
			k.mu.Unlock()
			if !cut {
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
			if sent && watch != nil {
				watch(b[:n])
			}
		}
		if err != nil {
			return
		}
	}
}

// hold remembers a connection, and says whether it may be passed on.
func (k *link) hold(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns[c] = true
	return !k.cut
}

func (k *link) forget(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// pull cuts the link.
func (k *link) pull() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = true
}

// plug mends it. Connections that lost something are gone for good.
func (k *link) plug() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = false
	for c := range k.conns {
		c.Close()
	}
}

// once calls f at the first moment in which an insert of observations is under way: some of it was sent, and there is no answer yet.
func (k *link) once(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var do sync.Once
	k.watch = func(sent []byte) {
		if bytes.Contains(sent, []byte("INSERT")) && bytes.Contains(sent, []byte("observations")) {
			do.Do(f)
		}
	}
}

func (k *link) close() {
	k.listener.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
}
