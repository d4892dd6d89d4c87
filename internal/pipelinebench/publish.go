package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/town"
)

// published is what the publishers say at their end.
type published struct {
	Observations, Messages, Bytes, Connections uint64
	Seconds, CPU                               float64
}

// source makes the messages of one node, interval by interval. It is for one goroutine.
type source struct {
	node     *town.Node
	builders [event.DefaultPartitions]*event.BatchBuilder
	counts   [event.DefaultPartitions]int
	numbers  [event.DefaultPartitions]uint64
	sequence uint64
	end      time.Time // of the next interval
	left     int
}

// newSource makes what a node says in n observations, whose intervals end before start plus the time that it takes to observe so many.
func newSource(number, active, n int, start time.Time) *source {
	s := &source{node: town.NewNode(number, active), end: start.Add(town.Interval), left: n}
	for i := range s.builders {
		s.builders[i] = event.NewBatchBuilder(s.node.Name, "bench", start)
	}
	return s
}

// message is a batch on its way.
type message struct {
	subject, id               string
	data                      []byte
	observations, connections int
}

// interval gives the messages of the next interval, none at the end.
func (s *source) interval(send func(message) error) error {
	var connections [event.DefaultPartitions]int
	var failed error
	flush := func(p int) {
		b := s.builders[p]
		if b.Empty() || failed != nil {
			return
		}
		s.sequence++
		s.numbers[p]++
		data, err := b.Encode(s.sequence, s.numbers[p], s.end)
		if err == nil {
			err = send(message{event.ObservationSubject(p, s.node.Name), event.MessageID(s.node.Name, "bench", s.sequence), data, s.counts[p], connections[p]})
		}
		failed = err
		b.Reset()
		s.counts[p], connections[p] = 0, 0
	}
	s.node.Observe(s.end, func(o *event.Observation) {
		if s.left == 0 {
			return
		}
		s.left--
		p := event.Partition(o.Workload.Identity, len(s.builders))
		s.builders[p].Add(o)
		s.counts[p]++
		connections[p] += int(o.Counts.Connections)
		if s.builders[p].Full() {
			flush(p)
		}
	})
	for p := range s.builders {
		flush(p)
	}
	s.end = s.end.Add(town.Interval)
	return failed
}

// begin is when the first interval of a run of n observations begins, so that the last one ends about now.
func begin(n, publishers, active int) time.Time {
	intervals := n/publishers/active + 2
	return time.Now().Truncate(time.Second).Add(-time.Duration(intervals) * town.Interval)
}

// publishers is the child that publishes, when it is told to, what all nodes say.
func publishers(args []string) error {
	flags := flag.NewFlagSet("publishers", flag.ExitOnError)
	url := flags.String("url", "", "")
	n := flags.Int("n", 0, "")
	nodes := flags.Int("publishers", 0, "")
	active := flags.Int("active", 0, "")
	start := flags.Int64("start", 0, "")
	pace := flags.Float64("pace", 0, "observations a second; 0: as many as the stream takes; then it goes on until its standard input ends")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var sources []*source
	for i := range *nodes {
		sources = append(sources, newSource(i+1, *active, (*n*(i+1))/(*nodes)-(*n*i)/(*nodes), time.Unix(*start, 0).UTC()))
	}
	runtime.GC()
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	began, before := time.Now(), cpuTime()
	var all published
	var mu sync.Mutex
	var limit *rate.Limiter
	if *pace > 0 {
		limit = rate.NewLimiter(rate.Limit(*pace), int(*pace)/10)
	}
	var g errgroup.Group
	for _, s := range sources {
		g.Go(func() error {
			p, err := s.publish(*url, limit)
			mu.Lock()
			defer mu.Unlock()
			all.Observations += p.Observations
			all.Messages += p.Messages
			all.Bytes += p.Bytes
			all.Connections += p.Connections
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	all.Seconds, all.CPU = time.Since(began).Seconds(), (cpuTime() - before).Seconds()
	return json.NewEncoder(os.Stdout).Encode(all)
}

// publish brings what a node says to the stream, with a connection of its own.
func (s *source) publish(url string, limit *rate.Limiter) (out published, err error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return out, fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(64))
	if err != nil {
		return out, err
	}
	var acks []jetstream.PubAckFuture
	settle := func(keep int) error {
		for len(acks) > keep {
			select {
			case <-acks[0].Ok():
				acks = acks[1:]
			case err := <-acks[0].Err():
				return fmt.Errorf("publish: %w", err)
			}
		}
		return nil
	}
	for s.left > 0 {
		err := s.interval(func(m message) error {
			if limit != nil {
				if d := limit.ReserveN(time.Now(), min(m.observations, limit.Burst())).Delay(); d > 0 {
					time.Sleep(d)
				}
			}
			ack, err := js.PublishMsgAsync(&nats.Msg{Subject: m.subject, Data: m.data}, jetstream.WithMsgID(m.id), jetstream.WithStallWait(time.Minute))
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			acks = append(acks, ack)
			out.Observations += uint64(m.observations)
			out.Connections += uint64(m.connections)
			out.Messages++
			out.Bytes += uint64(len(m.data))
			return settle(256)
		})
		if err != nil {
			return out, err
		}
	}
	return out, settle(0)
}
