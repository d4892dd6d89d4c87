package collector

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/lease"
)

// TestBusSecrets checks that neither errors nor descriptions show what opens a server.
func TestBusSecrets(t *testing.T) {
	for _, secret := range []string{
		"nats://user:geheim@nats.example:4222", "nats://geheim@nats.example:4222", "ws://user:geheim@127.0.0.1",
		"user:geheim@127.0.0.1:4222", "nats://user:geheim@nats.example\x7f", "nats://user:ge/heim@127.0.0.1:4222", "nats://user:geheim%zz@127.0.0.1",
		"//geheim@", "nats://user:geheim@",
	} {
		c := DefaultBusConfig()
		c.URLs = []string{"nats://127.0.0.1", secret}
		err := c.Validate()
		if err == nil || strings.Contains(err.Error(), "heim") || !strings.Contains(err.Error(), "nats.urls: number 2 ") {
			t.Errorf("a password shows, or no error: %v", err)
		}
	}
	b := &Bus{cfg: BusConfig{URLs: []string{"tls://geheim@nats.example", "tls://user:geheim@nats.example"}}}
	if got := b.Where(); strings.Contains(got, "geheim") || !strings.Contains(got, "nats.example") {
		t.Errorf("messages travel by %s", got)
	}
}

// TestBusPlain checks that nothing leads in the clear to another machine.
func TestBusPlain(t *testing.T) {
	for text, good := range map[string]bool{
		"nats://127.0.0.1:4222": true, "nats://[::1]:4222": true, "nats://localhost": true, "tls://nats.example:4222": true, "nats://u:a%2Cb@127.0.0.1": true,
		"nats://nats.example": false, "nats://127.0.0.1.example": false, "nats://127.0.0.1@nats.example": false,
		"nats://127.0.0.1/,nats://nats.example:4222": false, "tls://nats.example/,nats.example": false, // NATS takes these for two
	} {
		c := DefaultBusConfig()
		c.URLs = []string{text}
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestBusSyncs checks that what the embedded server acknowledges is on the disk; a power cut itself cannot be tested here.
func TestBusSyncs(t *testing.T) {
	bus := openBus(t, t.TempDir())
	if c := bus.server.server.JetStreamConfig(); !c.SyncAlways {
		t.Errorf("the server syncs every %s only", c.SyncInterval)
	}
}

// TestBusForgetsLeases checks that who had leases of an embedded server is gone with it, but not how many there are.
func TestBusForgetsLeases(t *testing.T) {
	dir := t.TempDir()
	bucket := func(bus *Bus) (jetstream.KeyValue, func()) {
		t.Helper()
		nc, err := bus.Connect("test")
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(t.Context(), leasesBucket)
		if err != nil {
			t.Fatal(err)
		}
		return kv, nc.Close
	}
	bus := openBus(t, dir)
	kv, end := bucket(bus)
	for _, key := range []string{"session.a.1", "partition.0", "partition.16"} {
		if _, err := kv.Put(t.Context(), key, []byte("a.1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := lease.Agree(t.Context(), kv, 16); err != nil {
		t.Fatal(err)
	}
	end()
	bus.Close()
	kv, end = bucket(openBus(t, dir))
	defer end()
	keys, err := kv.Keys(t.Context())
	if err != nil || !slices.Equal(keys, []string{"partitions"}) {
		t.Errorf("the bucket holds %v, %v", keys, err)
	}
}

// TestRemedy checks where users are told to look when a connection fails.
func TestRemedy(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
	broken := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}
	f := func(err error, certificate bool, want string) {
		t.Helper()
		if got := remedy(fmt.Errorf("connect: %w", err), certificate); !strings.Contains(got, want) {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	f(alert, true, "refuses this certificate")
	f(broken, true, "refuses this certificate")
	f(fmt.Errorf("%w: %w", nats.ErrTLS, broken), true, "refuses this certificate")
	f(io.EOF, true, "refuses this certificate")
	f(broken, false, "is it running")
	f(nats.ErrNoServers, true, "is it running")
	f(nats.ErrTLS, true, "the right server")
	f(nats.ErrSecureConnWanted, true, "one side wants TLS")
}
