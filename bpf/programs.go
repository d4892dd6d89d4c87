package bpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// Costs reads what each program has cost, those of TLS too if they are loaded, sorted by name. Runs and times count only while they are measured.
func (k *Kernel) Costs() ([]ProgramCost, error) {
	var costs []ProgramCost
	all := maps.Clone(k.collection.Programs)
	if k.tls != nil {
		maps.Copy(all, k.tls.collection.Programs) // no names in common
	}
	for name, p := range all {
		c, err := costOf(name, p)
		if err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b ProgramCost) int { return strings.Compare(a.Name, b.Name) })
	return costs, nil
}

// costOf names a program as the kernel does if the name is empty.
func costOf(name string, p *ebpf.Program) (ProgramCost, error) {
	c := ProgramCost{Name: name}
	info, err := p.Info()
	if err == nil {
		c.Instructions, _ = info.VerifiedInstructions()
		if name == "" {
			c.Name = info.Name
		}
	}
	s, err := p.Stats()
	if err != nil {
		return c, fmt.Errorf("read statistics of %s: %w", c.Name, err)
	}
	c.Runs, c.RunTime = s.RunCount, s.Runtime
	return c, nil
}

// CostsOf reads what each program has cost that a process holds, sorted by name. The kernel cuts names to 15 bytes.
func CostsOf(pid int) ([]ProgramCost, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	held := map[ebpf.ProgramID]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) { // closed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for the programs of process %d: %w", pid, err)
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
				if err != nil {
					return nil, fmt.Errorf("look for the programs of process %d: %w", pid, err)
				}
				held[ebpf.ProgramID(id)] = true
			}
		}
	}
	var costs []ProgramCost
	for id := range held {
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open program %d: %w", id, err)
		}
		c, err := costOf("", p)
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b ProgramCost) int { return strings.Compare(a.Name, b.Name) })
	return costs, nil
}
