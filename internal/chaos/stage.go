package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/pipelinebench/process"
)

const (
	agents     = 4
	collectors = 2
	learn      = 15 * time.Second
)

// stage is everything that runs.
type stage struct {
	ctx    context.Context
	folder string
	binary string
	*process.Set

	ports      []int // of the servers: for clients, then for each other
	servers    [servers]*process.Process
	engine     *process.Process
	collectors [collectors]*process.Process
	agents     [agents]*process.Process
	database   *link            // from collectors to the engine
	links      [servers]*link   // from agents to the servers
	mounts     [agents]string   // of spools
	killed     [agents][]killed // when agents were killed
	nc         *nats.Conn
	js         jetstream.JetStream
	novel      bool
	step       [agents]time.Duration // of agents' clocks
}

// killed is a time in which what an agent had just made may be lost: it was told that it may.
type killed struct{ from, until int64 }

func newStage(ctx context.Context, binary string) (*stage, error) {
	folder, err := os.MkdirTemp("", "ambit-ch-") // short: there is a socket in it
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, folder: folder, binary: binary, Set: process.NewSet(folder)}
	if s.ports, err = freePorts(2 * servers); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

// close ends and removes everything, but for the logs if they are to be kept.
func (s *stage) close(keep bool) (kept string, err error) {
	if s.nc != nil {
		s.nc.Close()
	}
	s.Set.Close()
	for _, k := range append(s.links[:], s.database) {
		if k != nil {
			k.close()
		}
	}
	for _, mount := range s.mounts {
		if mount != "" {
			err = errors.Join(err, unix.Unmount(mount, unix.MNT_DETACH))
		}
	}
	if keep {
		var keepErr error
		kept, keepErr = s.keepLogs()
		err = errors.Join(err, keepErr)
	}
	return kept, errors.Join(err, os.RemoveAll(s.folder))
}

func (s *stage) keepLogs() (string, error) {
	kept, err := os.MkdirTemp("", "ambit-chaos-logs-")
	if err != nil {
		return "", err
	}
	for _, pattern := range []string{"*.log", "*.ticks"} {
		files, _ := filepath.Glob(filepath.Join(s.folder, pattern)) // the pattern is right
		for _, f := range files {
			err = errors.Join(err, os.Rename(f, filepath.Join(kept, filepath.Base(f))))
		}
	}
	return kept, err
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// ready waits for a line that holds a word.
func (s *stage) ready(p *process.Process, word string) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	_, err := p.Line(ctx, func(line string) bool { return strings.Contains(line, word) })
	return err
}

// begin starts everything, and waits until all identities are learned.
func (s *stage) begin() error {
	say("starting %d servers, the engine, %d collectors, %d agents", servers, collectors, agents)
	for i := range servers {
		port := s.ports[i]
		var err error
		s.links[i], err = newLink(func() (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)) })
		if err != nil {
			return err
		}
	}
	var err error
	if s.database, err = newLink(func() (net.Conn, error) { return net.Dial("unix", s.socket()) }); err != nil {
		return err
	}
	for i := range servers {
		if err := s.startServer(i); err != nil {
			return err
		}
	}
	if err := s.startEngine(); err != nil {
		return err
	}
	if err := s.makeStreams(); err != nil {
		return err
	}
	for i := range collectors {
		if err := s.startCollector(i); err != nil {
			return err
		}
	}
	for i := range agents {
		if err := s.mountSpool(i); err != nil {
			return err
		}
		if err := s.startAgent(i); err != nil {
			return err
		}
	}
	say("learning takes %s", learn)
	if err := s.sleep(learn + 5*time.Second); err != nil {
		return err
	}
	if err := s.settled(time.Now(), time.Minute); err != nil {
		return fmt.Errorf("before anything happens: %w", err)
	}
	s.novel = true
	for i := range agents {
		if err := s.tell(i, "novel"); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *stage) startCollector(i int) error {
	name := fmt.Sprintf("collector-%d", i)
	p, err := s.Start(name, []string{
		"AMBIT_NATS_URLS=" + s.natsURLs(), "AMBIT_NATS_REPLICAS=" + strconv.Itoa(servers), "AMBIT_CLICKHOUSE_ADDRESSES=http://" + s.database.address(), "AMBIT_LOG_LEVEL=info",
	}, s.binary, "collector", "--data", filepath.Join(s.folder, name), "--listen", "127.0.0.1:0", "--learn", learn.String())
	if err != nil {
		return err
	}
	s.collectors[i] = p
	return s.ready(p, "Ambit is up")
}

// How large spools are: the disk of the last agent is small, and the one before may not use much of its own, and makes more than fits.
const (
	smallDisk  = 4 << 20
	smallSpool = 1 << 20
	fullDisk   = agents - 1
	fullSpool  = agents - 2
)

// mountSpool gives an agent a disk.
func (s *stage) mountSpool(i int) error {
	dir := filepath.Join(s.folder, fmt.Sprintf("spool-%d", i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	size := 256 << 20
	if i == fullDisk {
		size = smallDisk
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size)); err != nil {
		return fmt.Errorf("mount a disk for a spool: %w", err)
	}
	s.mounts[i] = dir
	return nil
}

func (s *stage) ticksOf(i int) string {
	return filepath.Join(s.folder, fmt.Sprintf("agent-%d.ticks", i))
}

func (s *stage) startAgent(i int) error {
	var urls []string
	for _, k := range s.links {
		urls = append(urls, "nats://"+k.address())
	}
	size := int64(128 << 20)
	if i == fullSpool {
		size = smallSpool
	}
	p, err := s.Start(fmt.Sprintf("agent-%d", i), nil, self, roleFlag, "agent", "-number", strconv.Itoa(i), "-urls", strings.Join(urls, ","), "-ticks", s.ticksOf(i),
		"-spool", filepath.Join(s.mounts[i], "spool"), "-spool-bytes", strconv.FormatInt(size, 10), "-queue-bytes", strconv.Itoa(128<<10))
	if err != nil {
		return err
	}
	s.agents[i] = p
	if err := s.ready(p, "ready"); err != nil {
		return err
	}
	if s.step[i] != 0 {
		if err := s.tell(i, "clock "+s.step[i].String()); err != nil {
			return err
		}
	}
	if s.novel {
		return s.tell(i, "novel")
	}
	return nil
}

func (s *stage) tell(i int, order string) error {
	_, err := io.WriteString(s.agents[i].Stdin, order+"\n")
	return err
}

// killAgent kills an agent. What it handed over within the last second may be lost, and only that.
func (s *stage) killAgent(i int) {
	const promised, slow = time.Second, 500 * time.Millisecond
	from := time.Now().Add(-promised - slow).UnixMilli()
	s.agents[i].Kill()
	s.killed[i] = append(s.killed[i], killed{from, time.Now().UnixMilli()})
}
