package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/event"
)

// incident is something that happens. When do returns, all that was broken is mended, but for what the name says; the time until everything that was made by
// then is in the engine is how long the recovery takes.
type incident struct {
	name  string
	do    func(*stage) error
	after func(*stage) error // brings back what stayed away; nil: nothing did
	most  time.Duration      // the recovery may take
}

// result is what became of an incident.
type result struct {
	name     string
	took     time.Duration
	recovery time.Duration
	err      error
}

// usual is how long a recovery may take, on a machine that is busy with all of the cluster.
const usual = 90 * time.Second

func events(short bool) []incident {
	partition, outage := time.Minute, 10*time.Second
	if short {
		partition, outage = 10*time.Second, 4*time.Second
	}
	list := []incident{
		{name: "agent killed and started again", most: usual, do: func(s *stage) error {
			s.killAgent(0)
			return s.startAgent(0)
		}},
		{name: "NATS server killed that does not lead, and started again", most: usual, do: func(s *stage) error {
			leader, err := s.leader()
			if err != nil {
				return err
			}
			return s.restartServer((leader+1)%servers, outage)
		}},
		{name: "NATS server killed that leads, and started again", most: usual, do: func(s *stage) error {
			leader, err := s.leader()
			if err != nil {
				return err
			}
			return s.restartServer(leader, outage)
		}},
		{name: "leader of the stream steps down", most: usual, do: (*stage).stepDown},
		{name: "collector killed, the other takes over", most: usual, do: func(s *stage) error {
			s.collectors[0].Kill()
			return nil
		}, after: func(s *stage) error { return s.startCollector(0) }},
		{name: "other collector killed, too, and both started again", most: usual, do: func(s *stage) error {
			s.collectors[1].Kill()
			s.collectors[0].Kill()
			return errors.Join(s.startCollector(0), s.startCollector(1))
		}},
		{name: "engine killed in mid-insert, three times", most: usual, do: func(s *stage) error {
			for range 3 {
				if err := s.killEngine(); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: fmt.Sprintf("agents cut off for %s; one may spool 1 MiB only", partition), most: usual, do: func(s *stage) error {
			return s.cutOff(partition, func() error { return nil })
		}},
		{name: "agent killed while it is cut off, started again before", most: usual, do: func(s *stage) error {
			return s.cutOff(outage, func() error {
				if err := s.sleep(outage); err != nil {
					return err
				}
				s.killAgent(1)
				return s.startAgent(1)
			})
		}},
		{name: "disk full under the spool of an agent that is cut off", most: usual, do: func(s *stage) error {
			return s.cutOff(outage, func() error { return s.fillDisk(true) })
		}, after: func(s *stage) error { return s.fillDisk(false) }},
		{name: "clock of an agent an hour ahead, and back", most: usual, do: func(s *stage) error {
			if err := s.setClock(0, time.Hour); err != nil {
				return err
			}
			if err := s.sleep(outage); err != nil {
				return err
			}
			return s.setClock(0, 0)
		}},
		{name: "clock of an agent an hour behind, and back", most: usual, do: func(s *stage) error {
			if err := s.setClock(1, -time.Hour); err != nil {
				return err
			}
			if err := s.sleep(outage); err != nil {
				return err
			}
			return s.setClock(1, 0)
		}},
		{name: "all NATS servers killed and started again", most: usual, do: func(s *stage) error {
			for i := range servers {
				s.servers[i].Kill()
			}
			for i := range servers {
				if err := s.startServer(i); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	return list
}

// play lets one thing happen, and waits until all is well again.
func (s *stage) play(e incident) result {
	say("%s", e.name)
	r := result{name: e.name}
	begin := time.Now()
	r.err = e.do(s)
	mended := time.Now()
	r.took = mended.Sub(begin)
	if r.err == nil {
		r.err = s.settled(mended, e.most)
		r.recovery = time.Since(mended)
	}
	if r.err == nil && e.after != nil {
		if r.err = e.after(s); r.err == nil {
			r.err = s.settled(time.Now(), e.most)
		}
	}
	if r.err == nil {
		say("  recovered in %.1fs", r.recovery.Seconds())
	} else {
		say("  NOT RECOVERED: %s", r.err)
	}
	return r
}

func (s *stage) restartServer(i int, away time.Duration) error {
	s.servers[i].Kill()
	if err := s.sleep(away); err != nil {
		return err
	}
	return s.startServer(i)
}

func (s *stage) stepDown() error {
	before, err := s.leader()
	if err != nil {
		return err
	}
	if _, err := s.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+event.StreamObservations, nil, 10*time.Second); err != nil && !errors.Is(err, nats.ErrTimeout) {
		return fmt.Errorf("have the leader step down: %w", err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		after, err := s.leader()
		if err == nil && after != before {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no other server leads the stream (%w)", err)
		}
		if err := s.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
}

// killEngine kills the engine while an insert of observations is under way.
func (s *stage) killEngine() error {
	engine, killed := s.engine, make(chan struct{})
	s.database.once(func() {
		engine.Kill()
		close(killed)
	})
	select {
	case <-killed:
	case <-time.After(20 * time.Second):
		return errors.New("no insert came to the engine for 20s")
	}
	return s.startEngine()
}

// cutOff cuts the agents off for a time, in which something may happen.
func (s *stage) cutOff(d time.Duration, meanwhile func() error) error {
	for _, k := range s.links {
		k.pull()
	}
	began := time.Now()
	err := meanwhile()
	if err == nil {
		err = s.sleep(max(d-time.Since(began), 0))
	}
	for _, k := range s.links {
		k.plug()
	}
	return err
}

// fillDisk fills the small disk, or makes room on it again.
func (s *stage) fillDisk(full bool) error {
	file := filepath.Join(s.mounts[fullDisk], "filler")
	if !full {
		return os.Remove(file)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		_, err := f.Write(block)
		if errors.Is(err, unix.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *stage) setClock(i int, step time.Duration) error {
	s.step[i] = step
	return s.tell(i, "clock "+step.String())
}
