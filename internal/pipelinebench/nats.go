package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ambit-nhi/ambit/internal/pipelinebench/process"
)

// serve is the child that holds the streams. It ends with its standard input.
func serve(dir string) error {
	s, err := server.NewServer(&server.Options{
		ServerName: "pipelinebench", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 8 << 30,
	})
	if err != nil {
		return fmt.Errorf("make the NATS server: %w", err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	fmt.Println(s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (s *stage) startNATS(dir string) (*process.Process, string, error) {
	p, err := s.Start("nats", nil, self, roleFlag, "nats", dir)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := s.within(20 * time.Second)
	defer cancel()
	url, err := p.Line(ctx, func(line string) bool { return strings.HasPrefix(line, "nats://") })
	return p, url, err
}
