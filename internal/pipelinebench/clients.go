package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/process"
)

// freshEach is how many new resources a client reaches at most: from eight within ten minutes on, they are one finding about a scan.
const freshEach = 4

// clients are programs in cgroups of their own, and so identities of their own.
type clients struct {
	group string // folder of the cgroup that all of theirs are in
	all   []*process.Process
	known net.Listener // what they reach while they are learned
}

// client is the child that connects to each address that it reads, and says when it began to, in ns since 1970.
func client(group string) error {
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter the cgroup: %w", err)
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		at := time.Now()
		c, err := net.DialTimeout("tcp", lines.Text(), 5*time.Second)
		if err != nil {
			return err
		}
		fmt.Println(at.UnixNano())
		c.Close()
	}
	return lines.Err()
}

// startClients starts as many as the findings need.
func (s *stage) startClients(findings int) (c *clients, err error) {
	mount, err := workload.FindMount()
	if err != nil {
		return nil, err
	}
	c = &clients{group: filepath.Join(mount.Path, fmt.Sprintf("ambit-pipelinebench-%d", os.Getpid()))}
	if err := os.Mkdir(c.group, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.known, err = listen(); err != nil {
		return c, err
	}
	for i := range (findings + freshEach - 1) / freshEach {
		group := filepath.Join(c.group, fmt.Sprint("client-", i))
		if err := os.Mkdir(group, 0o755); err != nil {
			return c, fmt.Errorf("make cgroup: %w", err)
		}
		p, err := s.Start("client", nil, self, roleFlag, "client", group)
		if err != nil {
			return c, err
		}
		c.all = append(c.all, p)
		ctx, cancel := s.within(10 * time.Second)
		_, err = p.Line(ctx, func(line string) bool { return line == "ready" })
		cancel()
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// close ends the clients, and removes their cgroups, of which the kernel lets go a moment later.
func (c *clients) close() error {
	if c.known != nil {
		c.known.Close()
	}
	for _, p := range c.all {
		p.Kill()
	}
	groups, err := filepath.Glob(filepath.Join(c.group, "client-*"))
	for _, g := range append(groups, c.group) {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			removed := os.Remove(g)
			if removed == nil || !errors.Is(removed, syscall.EBUSY) || time.Now().After(deadline) {
				err = errors.Join(err, removed)
				break
			}
		}
	}
	return err
}

// listen takes connections on a port of its own.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l, nil
}

// connect has a client connect, and says when it began to.
func (s *stage) connect(p *process.Process, address string) (time.Time, error) {
	if _, err := fmt.Fprintln(p.Stdin, address); err != nil {
		return time.Time{}, err
	}
	ctx, cancel := s.within(10 * time.Second)
	defer cancel()
	line, err := p.Line(ctx, func(string) bool { return true })
	if err != nil {
		return time.Time{}, err
	}
	at, err := strconv.ParseInt(line, 10, 64)
	return time.Unix(0, at), err
}

// learned has all clients reach what they know until they are learned.
func (s *stage) learned(c *clients, server string) error {
	ctx, cancel := s.within(3 * time.Minute)
	defer cancel()
	for {
		for _, p := range c.all {
			if _, err := s.connect(p, c.known.Addr().String()); err != nil {
				return err
			}
		}
		stable, err := stableBelow(ctx, server, filepath.Base(c.group))
		if err != nil {
			return err
		}
		if stable == len(c.all) {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d clients were learned: %w", stable, len(c.all), ctx.Err())
		}
	}
}

// stableBelow counts the stable identities of clients.
func stableBelow(ctx context.Context, server, group string) (n int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/api/v1/identities?limit=1000&q="+url.QueryEscape(group), nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("list identities: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("list identities: %s", answer.Status)
	}
	var page api.Page[api.Identity]
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil {
		return 0, fmt.Errorf("list identities: %w", err)
	}
	names := map[string]bool{}
	for _, i := range page.Items {
		id := i.Identity.String()
		if at := strings.LastIndex(id, "/"+group+"/client-"); at >= 0 && i.State == "stable" {
			names[id[at:]] = true
		}
	}
	return len(names), nil
}

// percentile of durations.
func percentile(d []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
