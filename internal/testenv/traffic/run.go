package traffic

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	maxName = 256
	patient = 10 * time.Second // for one connection
)

// Run carries out orders until one says stop, or there are no more. name is what it tells those it connects to.
func Run(name string, orders io.Reader, answers io.Writer) error {
	s := newServer()
	defer s.stop()
	in, out := json.NewDecoder(bufio.NewReader(orders)), json.NewEncoder(answers)
	for {
		var order Order
		if err := in.Decode(&order); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var answer Answer
		switch {
		case order.Serve != nil:
			if err := s.serve(*order.Serve); err != nil {
				answer.Error = err.Error()
			}
		case order.Stop:
			answer.Served = s.stop()
		default:
			for _, d := range order.Dial {
				answer.Dialled = append(answer.Dialled, dial(name, d))
			}
		}
		if err := out.Encode(answer); err != nil || order.Stop {
			return err
		}
	}
}

func dial(name string, d Dial) Dialled {
	var sum Dialled
	for range d.Times {
		if err := exchange(name, d.Network, d.Address); err != nil {
			sum.Failed++
			sum.Error = err.Error()
			continue
		}
		sum.Done++
	}
	return sum
}

// exchange says the name and waits for one byte.
func exchange(name, network, address string) error {
	c, err := net.DialTimeout(network, address, patient)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patient)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, name+"\n"); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if network == "tcp" { // the server closes first, and keeps what is left of the connection
		_, err = c.Read(b[:])
		if err == io.EOF {
			err = nil
		}
	}
	return err
}

func portOf(a net.Addr) uint16 {
	_, text, _ := net.SplitHostPort(a.String())
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

func nameIn(line string) string { return strings.TrimSuffix(line, "\n") }
