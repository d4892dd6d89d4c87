package bpf

import (
	"errors"
	"math"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// What connect pays for deny: UDP sockets, whose connect is little else, with the programs attached and without, in turn. A process that no decision names, and
// one that many name, none of which is about where it goes.
func TestKernelDenyCost(t *testing.T) {
	denyTest(t, func(t *testing.T, cfg DenyConfig) {
		d := loadTestDeny(t, cfg)
		watch(t, testConfig(t)) // beside what watches
		own := cgroupOf(t, testenv.OwnCgroup())
		to := at("10.77.0.1", 1000)
		fd := socketUDP(unix.AF_INET, nil)
		defer unix.Close(fd)
		const most = 10000
		many := func(cgroup uint64) DenyTable {
			table := DenyTable{map[uint64]uint32{cgroup: 1}, map[DenyKey]DenyRule{}}
			until := in(t, hour)
			for i := range most {
				a := netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})
				table.Rules[DenyKey{Subject: 1, Prefix: netip.PrefixFrom(a, 32), Port: 443, Protocol: unix.IPPROTO_TCP}] = DenyRule{Enforce: DenyUntil{until, uint32(i)}}
			}
			return table
		}
		for _, c := range []struct {
			name  string
			table DenyTable
			limit float64 // ns
		}{
			{"no decision", DenyTable{}, 150},
			{"10,000 decisions, of which none names it", many(1), 300},
			{"10,000 decisions, which all name it", many(own), 300},
		} {
			if _, err := d.Apply(c.table); err != nil {
				t.Fatal(err)
			}
			// The least of many short times: all that disturbs makes them longer.
			armed := len(c.table.Rules) > 0
			without, with := math.Inf(1), math.Inf(1)
			var attach time.Duration
			rounds := 12
			if os.Getenv("AMBIT_GUEST") != "" {
				rounds = 1
			}
			for range rounds {
				if err := errors.Join(d.Arm(false), d.Detach()); err != nil {
					t.Fatal(err)
				}
				without = min(without, perConnect(fd, to))
				start := time.Now()
				if err := d.Arm(armed); err != nil {
					t.Fatal(err)
				}
				attach += time.Since(start) / time.Duration(rounds)
				with = min(with, perConnect(fd, to))
			}
			own := ownOf(t, d, "deny_connect4", func() { perConnect(fd, to) })
			t.Logf("%s: connect takes %.0f ns, and %.0f without; the program %d ns by the kernel's clock, of which some 50 are that clock's; attaching took %s", c.name, with, without, own, attach)
			if os.Getenv("AMBIT_GUEST") != "" {
				continue // an emulated processor says nothing of a real one
			}
			if more := with - without; more > c.limit {
				t.Errorf("%s: connect pays %.0f ns, at most %.0f are allowed", c.name, more, c.limit)
			}
		}
	})
}

// perConnect is what a connect takes, in ns.
func perConnect(fd int, to unix.Sockaddr) float64 {
	least := math.Inf(1)
	for range 200 {
		const n = 50
		start := time.Now()
		for range n {
			check(unix.Connect(fd, to))
		}
		least = min(least, float64(time.Since(start).Nanoseconds())/n)
	}
	return least
}

// ownOf is what a run of a program takes by the kernel's clock, in ns; 0 if it did not run.
func ownOf(t *testing.T, d *Deny, program string, do func()) int64 {
	t.Helper()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	read := func() (uint64, time.Duration) {
		s, err := d.collection.Programs[program].Stats()
		if err != nil {
			t.Fatal(err)
		}
		return s.RunCount, s.Runtime
	}
	runs, took := read()
	do()
	runsAfter, tookAfter := read()
	if runsAfter == runs {
		return 0
	}
	return (tookAfter - took).Nanoseconds() / int64(runsAfter-runs)
}

func cgroupOf(t *testing.T, dir string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
