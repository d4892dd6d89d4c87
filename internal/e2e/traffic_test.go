package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// The traffic program is this test binary, started again in a cgroup of its own. With trafficMode "client" it reads one order a line and answers
// each with "ok": "tcp ADDRESS TIMES BYTES", "udp ADDRESS TIMES BYTES", "named DNS-SERVER NAME:PORT". With "once" it carries out its arguments and ends.
// With "stream" it connects until it is ended, and prints how many connections it has completed.
const trafficMode = "AMBIT_E2E_TRAFFIC"

func traffic(mode string, args []string) error {
	switch mode {
	case "client":
		orders := bufio.NewScanner(os.Stdin)
		for orders.Scan() {
			words := strings.Fields(orders.Text())
			err := order(words)
			switch {
			case err == nil:
				fmt.Println("ok")
			case words[0] == "tcp" && words[len(words)-1] == "may-fail", words[0] == "held":
				fmt.Println(err)
			default:
				return err
			}
		}
		return orders.Err()
	case "once":
		return order(args)
	case "stream":
		return stream(args[0])
	}
	return fmt.Errorf("unknown mode %q", mode)
}

// held is a connection that stays open.
var held net.Conn

func order(words []string) error {
	times, size := 1, 0
	if len(words) == 4 {
		times, _ = strconv.Atoi(words[2])
		size, _ = strconv.Atoi(words[3])
	}
	for range times {
		switch words[0] {
		case "tcp":
			if err := exchangeTCP(words[1], size); err != nil {
				return err
			}
		case "udp":
			if err := exchangeUDP(words[1], size); err != nil {
				return err
			}
		case "hold":
			var err error
			if held, err = net.Dial("tcp", words[1]); err != nil {
				return err
			}
		case "held": // an error says that it is not any more
			if err := held.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			if _, err := held.Read(make([]byte, 1)); err != nil {
				return err
			}
		case "named":
			if err := exchangeNamed(words[1], words[2]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown order %q", words)
		}
	}
	return nil
}

// exchangeTCP sends size bytes, and reads what the server answers until it closes.
func exchangeTCP(address string, size int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return nil
}

// exchangeNamed asks a DNS server for the address of a name, and then sends 10 bytes there.
func exchangeNamed(server, target string) error {
	name, port, err := net.SplitHostPort(target)
	if err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	addresses, err := resolver.LookupHost(context.Background(), name)
	if err != nil {
		return err
	}
	return exchangeTCP(net.JoinHostPort(addresses[0], port), 10)
}

func exchangeUDP(address string, size int) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64<<10))
	return err
}

// stream connects as fast as the server answers, and says after each connection how many there were.
func stream(address string) error {
	out := bufio.NewWriterSize(os.Stdout, 64)
	for n := 1; ; n++ {
		if err := exchangeTCP(address, 10); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d\n", n)
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// answerBytes is what the test's servers answer to every connection and datagram.
const answerBytes = 250

// serveTCP answers on a port of its own until the test ends, and counts.
func serveTCP(t *testing.T, address string) (string, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var served atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				io.Copy(io.Discard, c)
				if _, err := c.Write(make([]byte, answerBytes)); err == nil {
					served.Add(1)
				}
			}()
		}
	}()
	return l.Addr().String(), &served
}

func serveUDP(t *testing.T, address string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(make([]byte, answerBytes), from)
		}
	}()
	return c.LocalAddr().String()
}

// client is a traffic program in a cgroup of its own.
type client struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func startClient(t *testing.T, group *testenv.TestCgroup) *client {
	t.Helper()
	cmd := trafficCommand(t, "client")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	group.Start(cmd)
	return &client{t, in, bufio.NewScanner(out)}
}

func (c *client) do(format string, args ...any) {
	c.t.Helper()
	fmt.Fprintf(c.in, format+"\n", args...)
	if !c.out.Scan() || c.out.Text() != "ok" {
		c.t.Fatalf("traffic program did not carry out %q: %q %v", fmt.Sprintf(format, args...), c.out.Text(), c.out.Err())
	}
}

// try gives what came of an order that may fail.
func (c *client) try(format string, args ...any) string {
	c.t.Helper()
	fmt.Fprintf(c.in, format+"\n", args...)
	if !c.out.Scan() {
		c.t.Fatalf("the traffic program ended: %v", c.out.Err())
	}
	return c.out.Text()
}

func trafficCommand(t *testing.T, mode string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), trafficMode+"="+mode)
	cmd.Stderr = os.Stderr
	return cmd
}
