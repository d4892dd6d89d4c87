package bpf

import "fmt"

// causes names enum counter of event.h.
var causes = [ambitCounterCOUNTERS]string{
	ambitCounterEDGES_FULL:       "edges-full",
	ambitCounterEDGE_RING_FULL:   "edge-ring-full",
	ambitCounterEDGE_QUOTA:       "edge-quota",
	ambitCounterTAG_OVERFLOW:     "tag-overflow",
	ambitCounterTAG_LOST:         "tag-lost",
	ambitCounterTAG_STALE:        "tag-stale",
	ambitCounterANSWER_RING_FULL: "answer-ring-full",
	ambitCounterANSWER_CUT:       "answer-cut",
	ambitCounterCGROUP_UNKNOWN:   "cgroup-unknown",
	ambitCounterUDP_FLOW_FULL:    "udp-flow-full",
	ambitCounterHELLO_RING_FULL:  "hello-ring-full",
	ambitCounterHELLO_CUT:        "hello-cut",
	ambitCounterHELLO_EARLY:      "hello-early",
}

// recursion counts program runs that the kernel skipped because one of ours was interrupted by a softirq on the same CPU.
const recursion = "recursion"

// Losses reads how much was lost since the start, by cause. Every cause is there, also those with zero.
func (k *Kernel) Losses() (map[string]uint64, error) {
	out := make(map[string]uint64, len(causes)+1)
	var perCPU []uint64
	for i, cause := range causes {
		if err := k.collection.Maps["counters"].Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", cause, err)
		}
		for _, n := range perCPU {
			out[cause] += n
		}
	}
	out[recursion] = 0
	for _, p := range k.collection.Programs {
		if s, err := p.Stats(); err == nil { // kernels before 5.12 do not tell
			out[recursion] += s.RecursionMisses
		}
	}
	return out, nil
}
