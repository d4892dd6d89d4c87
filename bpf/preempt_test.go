package bpf

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Programs of user probes have nothing on their stacks but while they have their CPU for themselves, whichever way they take.
func TestUserProgramsKeepTheirCPU(t *testing.T) {
	spec, err := loadTls()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, p := range spec.Programs {
		if p.Type != ebpf.Kprobe {
			continue
		}
		checked++
		var insns []asm.Instruction // by their offsets
		for i := p.Instructions.Iterate(); i.Next(); {
			for range int(i.Offset) - len(insns) {
				insns = append(insns, asm.Instruction{}) // the second half of a long one
			}
			insns = append(insns, *i.Ins)
		}
		type point struct {
			at   int
			kept bool
		}
		held, ends := 0, 0
		seen := map[point]bool{}
		ahead := []point{{}}
		for len(ahead) > 0 {
			at := ahead[len(ahead)-1]
			ahead = ahead[:len(ahead)-1]
			if seen[at] {
				continue
			}
			seen[at] = true
			ins, next := insns[at.at], at
			next.at += int(ins.Size()) / asm.InstructionSize
			known := at.at >= 2 && insns[at.at-2].OpCode.IsDWordLoad() && strings.HasPrefix(insns[at.at-2].Reference(), "bpf_preempt_") && ins.Constant == 0 // that the kernel has the function
			op := ins.OpCode.JumpOp()
			branches := ins.OpCode.Class().IsJump()
			switch {
			case ins.IsKfuncCall() && ins.Reference() == "bpf_preempt_disable":
				held, next.kept = held+1, true
			case ins.IsKfuncCall() && ins.Reference() == "bpf_preempt_enable":
				next.kept = false
			case !at.kept && usesStack(ins):
				t.Errorf("%s: instruction %d uses the stack while the CPU is not kept: %v", name, at.at, ins)
			}
			switch {
			case branches && op == asm.Exit:
				ends++
				continue
			case branches && op == asm.Ja:
				next.at += int(ins.Offset)
			case branches && op == asm.JEq && known:
			case branches && op == asm.JNE && known:
				next.at += int(ins.Offset)
			case branches && op != asm.Call:
				ahead = append(ahead, point{next.at + int(ins.Offset), next.kept})
			}
			ahead = append(ahead, next)
		}
		if held == 0 || ends == 0 {
			t.Errorf("%s keeps its CPU %d times and ends %d times", name, held, ends)
		}
	}
	if checked == 0 {
		t.Error("no program of user probes")
	}
}

func usesStack(ins asm.Instruction) bool { return ins.Dst == asm.RFP || ins.Src == asm.RFP }
