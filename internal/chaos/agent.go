package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/agent"
	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

const beatEvery = time.Second

// simulated is an agent without a kernel: its publisher and spool are the real ones, its traffic is made up, and its clock can be set.
type simulated struct {
	number  int
	publish *agent.Publisher
	ticks   *os.File
	next    tick
	step    atomic.Int64 // ns, of its wall clock ahead of the machine's
	boots   int
	before  map[string]uint64 // counters at the begin of the boot
}

// simulate is the child that is an agent. It is told what to do by lines on its standard input: "novel", "clock 1h", "stop".
func simulate(args []string) error {
	flags := flag.NewFlagSet("agent", flag.ExitOnError)
	number := flags.Int("number", 0, "")
	urls := flags.String("urls", "", "")
	dir := flags.String("spool", "", "")
	maxBytes := flags.Int64("spool-bytes", 0, "")
	queue := flags.Int("queue-bytes", 0, "")
	file := flags.String("ticks", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	known, err := readTicks(*file)
	if err != nil {
		return err
	}
	s := &simulated{number: *number, before: map[string]uint64{}}
	now := s.now()
	if len(known) > 0 {
		s.next = known[len(known)-1]
	}
	if s.ticks, err = os.OpenFile(*file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer s.ticks.Close()
	if _, err := s.ticks.WriteString("\n"); err != nil { // behind a torn line
		return err
	}
	nc, err := nats.Connect(*urls, nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true), nats.IgnoreDiscoveredServers(), nats.Timeout(2*time.Second), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, agent.PublishOptions()...)
	if err != nil {
		return err
	}
	s.publish, err = agent.NewPublisher(agent.PublisherConfig{
		Node: nodeName(s.number), Boot: s.boot(now), Started: now, Partitions: event.DefaultPartitions, QueueBytes: *queue, Drain: 20 * time.Second, Now: s.now,
		Spool: spool.Config{Dir: *dir, MaxBytes: *maxBytes, MaxAge: spool.Default().MaxAge},
	}, js)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.publish.Run(ctx) }()
	fmt.Println("ready")
	if err := s.work(orders()); err != nil {
		return err
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return s.publish.Close()
}

// orders are the lines of standard input.
func orders() <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			out <- lines.Text()
		}
	}()
	return out
}

func (s *simulated) boot(at time.Time) string {
	s.boots++
	return strconv.FormatInt(at.UnixMilli(), 36) + "-" + strconv.Itoa(s.boots)
}

// now is its wall clock.
func (s *simulated) now() time.Time { return time.Now().Add(time.Duration(s.step.Load())).Round(0) }

// work makes traffic until it is told to stop, or nobody tells anything any more.
func (s *simulated) work(orders <-chan string) error {
	novel := false
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	for {
		select {
		case <-ticks.C:
			// In a past that was never watched, nothing is new.
			if err := s.tick(novel && s.step.Load() >= 0); err != nil {
				return err
			}
		case <-beats.C:
			s.beat()
		case order, ok := <-orders:
			verb, value, _ := strings.Cut(order, " ")
			switch {
			case !ok || verb == "stop":
				s.beat()
				return nil
			case verb == "novel":
				novel = true
			case verb == "clock": // as the real agent does it
				step, err := time.ParseDuration(value)
				if err != nil {
					return err
				}
				s.step.Store(int64(step))
				s.publish.Restart(s.boot(s.now()), s.now())
				s.before = s.publish.Counters()
			}
		}
	}
}

func (s *simulated) tick(novel bool) error {
	s.next.Number++
	s.next.At, s.next.Novel = time.Now().UnixMilli(), novel && s.next.Number%novelEvery == 0
	line, err := json.Marshal(s.next)
	if err != nil {
		return err
	}
	if _, err := s.ticks.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write down a tick: %w", err)
	}
	now := s.now()
	s.next.observe(s.number, now, s.publish.Observe)
	s.publish.Flush(now)
	return nil
}

func (s *simulated) beat() {
	lost := maps.Clone(s.publish.Counters())
	for cause, n := range s.before {
		lost[cause] -= min(n, lost[cause])
	}
	maps.DeleteFunc(lost, func(_ string, n uint64) bool { return n == 0 })
	s.publish.Heartbeat(&event.Heartbeat{Time: s.now(), Version: "chaos", Lost: lost, Gauges: s.publish.Gauges()})
}
