package bpf

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ProgramCost is what a program has cost since it was loaded.
type ProgramCost struct {
	Name         string
	Runs         uint64
	RunTime      time.Duration // by the kernel's clock, which takes some 50 ns a run itself
	Instructions uint32        // that the verifier went through; 0 where the kernel does not tell (before 5.16)
}

// MeasureCost makes the kernel measure every program's runs until the returned Closer is closed. It costs all BPF programs of the machine.
func MeasureCost() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("enable statistics of programs: %w", err)
	}
	return c, nil
}

// Costs reads what each program has cost, sorted by name. Runs and times count only while they are measured.
func (k *Kernel) Costs() ([]ProgramCost, error) {
	var costs []ProgramCost
	for name, p := range k.collection.Programs {
		s, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of %s: %w", name, err)
		}
		c := ProgramCost{Name: name, Runs: s.RunCount, RunTime: s.Runtime}
		if info, err := p.Info(); err == nil {
			c.Instructions, _ = info.VerifiedInstructions()
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b ProgramCost) int { return strings.Compare(a.Name, b.Name) })
	return costs, nil
}
