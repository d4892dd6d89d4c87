package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

const servers = 3

// serve is the child that is one server of the cluster.
func serve(args []string) error {
	flags := flag.NewFlagSet("nats", flag.ExitOnError)
	name := flags.String("name", "", "")
	port := flags.Int("port", 0, "")
	route := flags.Int("route", 0, "")
	routes := flags.String("routes", "", "")
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: *name, Host: "127.0.0.1", Port: *port, NoSigs: true, JetStream: true, StoreDir: *dir, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 16 << 30,
		Cluster: server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: *route, NoAdvertise: true},
	}
	for r := range strings.SplitSeq(*routes, ",") {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: "127.0.0.1:" + r})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("make the NATS server: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// startServer starts one server of the cluster, from 0.
func (s *stage) startServer(i int) error {
	var routes []string
	for j := range servers {
		if j != i {
			routes = append(routes, strconv.Itoa(s.ports[servers+j]))
		}
	}
	name := fmt.Sprintf("nats-%d", i)
	p, err := s.Start(name, nil, self, roleFlag, "nats", "-name", name, "-port", strconv.Itoa(s.ports[i]), "-route", strconv.Itoa(s.ports[servers+i]),
		"-routes", strings.Join(routes, ","), "-dir", filepath.Join(s.folder, name))
	if err != nil {
		return err
	}
	s.servers[i] = p
	return s.ready(p, "ready")
}

func (s *stage) natsURLs() string {
	var urls []string
	for i := range servers {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", s.ports[i]))
	}
	return strings.Join(urls, ",")
}

// makeStreams makes them in the cluster, as a collector would that is told of it.
func (s *stage) makeStreams() error {
	cfg := collector.DefaultBusConfig()
	cfg.URLs, cfg.Replicas, cfg.Logger = strings.Split(s.natsURLs(), ","), servers, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	for {
		one, stop := context.WithTimeout(ctx, 10*time.Second)
		bus, err := collector.OpenBus(one, cfg)
		stop()
		if err == nil {
			bus.Close()
			break
		}
		select {
		case <-time.After(500 * time.Millisecond): // the cluster is choosing its leader
		case <-ctx.Done():
			return fmt.Errorf("make the streams: %w", err)
		}
	}
	nc, err := nats.Connect(s.natsURLs(), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond))
	if err != nil {
		return err
	}
	s.nc = nc
	s.js, err = jetstream.New(nc)
	return err
}

// leader is the server that leads the stream of observations.
func (s *stage) leader() (int, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	stream, err := s.js.Stream(ctx, event.StreamObservations)
	if err != nil {
		return 0, err
	}
	info := stream.CachedInfo()
	if info.Cluster == nil || len(info.Cluster.Replicas) != servers-1 {
		return 0, errors.New("the stream of observations has not one replica on each server")
	}
	_, number, _ := strings.Cut(info.Cluster.Leader, "-")
	return strconv.Atoi(number)
}
