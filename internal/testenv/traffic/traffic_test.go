package traffic

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	start := func(name string) (order func(Order) Answer, end func()) {
		orders, in := io.Pipe()
		out, answers := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- Run(name, orders, answers) }()
		to, from := json.NewEncoder(in), json.NewDecoder(out)
		return func(o Order) (a Answer) {
				t.Helper()
				if err := to.Encode(o); err != nil {
					t.Fatal(err)
				}
				if err := from.Decode(&a); err != nil {
					t.Fatal(err)
				}
				return a
			}, func() {
				t.Helper()
				in.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
	}
	tcp, udp := port(t), port(t)
	server, endServer := start("server")
	if a := server(Order{Serve: &Serve{Address: "127.0.0.1", TCP: []uint16{tcp}, UDP: []uint16{udp}}}); a.Error != "" {
		t.Fatal(a.Error)
	}
	if a := server(Order{Serve: &Serve{Address: "127.0.0.1", TCP: []uint16{tcp}}}); a.Error == "" {
		t.Error("listens twice on a port")
	}
	client, endClient := start("client")
	a := client(Order{Dial: []Dial{
		{"tcp", fmt.Sprintf("127.0.0.1:%d", tcp), 7},
		{"udp", fmt.Sprintf("127.0.0.1:%d", udp), 5},
		{"tcp", fmt.Sprintf("127.0.0.1:%d", port(t)), 2},
	}})
	if len(a.Dialled) != 3 || a.Dialled[0] != (Dialled{Done: 7}) || a.Dialled[1] != (Dialled{Done: 5}) || a.Dialled[2].Failed != 2 {
		t.Errorf("dialled %+v", a)
	}
	endClient()
	a = server(Order{Stop: true})
	got := make(map[Served]bool)
	for _, s := range a.Served {
		got[s] = true
	}
	if len(got) != 2 || !got[Served{"tcp", tcp, "client", 7}] || !got[Served{"udp", udp, "client", 5}] {
		t.Errorf("served %+v", a)
	}
	endServer()
}

func port(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return portOf(l.Addr())
}
