package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/bpf"
)

// CheckStatus is the outcome of a check.
type CheckStatus string

// The outcomes.
const (
	CheckOK       CheckStatus = "ok"
	CheckDegraded CheckStatus = "degraded" // the agent works, but sees less
	CheckMissing  CheckStatus = "missing"  // the agent cannot start without it
)

// Check is one thing that the agent needs or can use on this machine.
type Check struct {
	Name    string      `json:"name"`
	Status  CheckStatus `json:"status"`
	Found   string      `json:"found"`             // what is there
	Meaning string      `json:"meaning,omitempty"` // what is lost, in plain words; empty if nothing
	Remedy  string      `json:"remedy,omitempty"`  // how to get it
}

// Diagnosis is what the agent can and cannot do on this machine.
type Diagnosis struct {
	Kernel string  `json:"kernel"` // release
	Ready  bool    `json:"ready"`  // nothing that is needed is missing
	Checks []Check `json:"checks"`
}

// Missing gives the names of what is needed and missing.
func (d *Diagnosis) Missing() []string {
	var names []string
	for _, c := range d.Checks {
		if c.Status == CheckMissing {
			names = append(names, c.Name)
		}
	}
	return names
}

// Diagnose looks at this machine and tries each hook on its kernel, attaching none. It takes seconds.
func Diagnose() Diagnosis {
	h := thisHost()
	d := h.diagnose(func() []bpf.HookStatus { return append(bpf.Probe(), bpf.ProbeTLS()...) })
	if len(d.Missing()) == 0 {
		d.Checks = append(d.Checks, h.checkDeny(bpf.ProbeDeny(), bpf.CheckPins(bpf.DefaultPins)))
	}
	return d
}

// Preflight looks at what can be told at once, and gives the first thing that keeps the agent from starting, with its remedy in the same line.
func Preflight() error { return thisHost().preflight() }

func (h *host) preflight() error {
	for _, c := range h.needs() {
		if c.Status == CheckMissing {
			return fmt.Errorf("this machine cannot be watched: %s; %s (or watch nothing here: --no-agent)", c.Meaning, c.Remedy)
		}
	}
	return nil
}

// needs are the checks that can fail the start, cheapest first.
func (h *host) needs() []Check {
	return []Check{h.checkPrivileges(), h.checkKernel(), h.checkBTF(), h.checkCgroups(), h.checkLockdown(), h.checkMemlock()}
}

func (h *host) diagnose(probe func() []bpf.HookStatus) Diagnosis {
	d := Diagnosis{Kernel: h.release}
	d.Checks = append(h.needs(), h.checkPtrace(), h.checkFiles(), h.checkNamespace(), h.checkJIT())
	if missing := d.Missing(); len(missing) > 0 {
		d.Checks = append(d.Checks, Check{
			Name: "hooks", Status: CheckDegraded, Found: "not tried",
			Meaning: "which hooks this kernel takes is not known yet",
			Remedy:  "first get what is missing: " + strings.Join(missing, ", "),
		})
		return d
	}
	for _, s := range probe() {
		d.Checks = append(d.Checks, checkHook(s))
	}
	d.Ready = !slices.ContainsFunc(d.Checks, func(c Check) bool { return c.Status == CheckMissing })
	return d
}

func checkHook(s bpf.HookStatus) Check {
	c := Check{Name: s.Name, Status: CheckOK, Found: s.Purpose}
	if s.Err == nil {
		return c
	}
	c.Status = CheckDegraded
	if s.Needed {
		c.Status = CheckMissing
	}
	c.Found = "the kernel refuses it: " + firstLine(s.Err)
	c.Meaning = "not seen: " + s.Purpose
	c.Remedy = "use a newer kernel (5.10 is the oldest with all hooks), or ask its vendor to allow this program type"
	return c
}

// firstLine leaves out the verifier's log.
func firstLine(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
