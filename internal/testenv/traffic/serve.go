package traffic

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// server answers and counts, until it is stopped.
type server struct {
	mu     sync.Mutex
	served map[Served]int // with Times 0
	open   []io.Closer
	work   sync.WaitGroup
}

func newServer() *server { return &server{served: make(map[Served]int)} }

func (s *server) serve(o Serve) error {
	for _, port := range o.TCP {
		l, err := net.Listen("tcp", net.JoinHostPort(o.Address, strconv.Itoa(int(port))))
		if err != nil {
			return err
		}
		s.open = append(s.open, l)
		s.work.Go(func() { s.accept(l) })
	}
	for _, port := range o.UDP {
		c, err := net.ListenPacket("udp", net.JoinHostPort(o.Address, strconv.Itoa(int(port))))
		if err != nil {
			return err
		}
		s.open = append(s.open, c)
		s.work.Go(func() { s.datagrams(c) })
	}
	return nil
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		s.work.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patient)) // it is open
			line, err := bufio.NewReaderSize(io.LimitReader(c, maxName), maxName).ReadString('\n')
			if err != nil {
				return
			}
			s.count("tcp", l.Addr(), line)
			_, _ = io.WriteString(c, ".") // the client knows whether it came
		})
	}
}

func (s *server) datagrams(c net.PacketConn) {
	b := make([]byte, maxName)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return // closed
		}
		s.count("udp", c.LocalAddr(), string(b[:n]))
		_, _ = c.WriteTo([]byte("."), from) // the client knows whether it came
	}
}

func (s *server) count(network string, at net.Addr, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[Served{Network: network, Port: portOf(at), From: nameIn(line)}]++
}

// stop closes everything, waits for what is under way, and says what was served.
func (s *server) stop() []Served {
	for _, o := range s.open {
		o.Close()
	}
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Served
	for one, times := range s.served {
		one.Times = times
		all = append(all, one)
	}
	return all
}
