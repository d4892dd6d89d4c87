package tlsprobe

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// probePoints are offsets into a function's code at which a probe may stand.
type probePoints struct {
	entry   int   // behind the check of the stack's size, where arguments are still in their registers and the stack is the caller's
	returns []int // every one
}

var errDisassemble = errors.New("disassemble")

// findProbePoints disassembles a whole function. A probe in the midst of an instruction would harm the program: what is not understood is refused.
func findProbePoints(machine elf.Machine, code []byte) (probePoints, error) {
	switch machine {
	case elf.EM_X86_64:
		return probePointsAMD64(code)
	case elf.EM_AARCH64:
		return probePointsARM64(code)
	}
	return probePoints{}, fmt.Errorf("%w: no probes for %v", errDisassemble, machine)
}

const prologue = 8 // instructions among which the stack's check is sought

func probePointsAMD64(code []byte) (probePoints, error) {
	var p probePoints
	begins := make([]bool, len(code)+1)
	begins[len(code)] = true
	var targets []int
	checks := false // the instruction before
	for at, n := 0, 0; at < len(code); n++ {
		begins[at] = true
		if code[at] == 0xc4 || code[at] == 0xc5 {
			length := lengthVEX(code[at:])
			if length == 0 {
				return p, fmt.Errorf("%w at +%#x: a vector instruction", errDisassemble, at)
			}
			at += length
			continue
		}
		in, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return p, fmt.Errorf("%w at +%#x: %w", errDisassemble, at, err)
		}
		next := at + in.Len
		if rel, ok := in.Args[0].(x86asm.Rel); ok && in.Op != x86asm.CALL {
			if target := next + int(rel); target >= 0 && target < len(code) {
				targets = append(targets, target)
			}
			if checks && in.Op == x86asm.JBE {
				p.entry = next
			}
		}
		checks = n < prologue && checksStackAMD64(&in)
		if in.Op == x86asm.RET {
			p.returns = append(p.returns, at)
		}
		at = next
	}
	for _, t := range targets { // a wrong length would soon put a jump's target inside an instruction
		if !begins[t] {
			return probePoints{}, fmt.Errorf("%w: a jump goes into an instruction at +%#x", errDisassemble, t)
		}
	}
	return p, nil
}

// checksStackAMD64 says whether the stack is compared with the goroutine's bound, g.stackguard0.
func checksStackAMD64(in *x86asm.Inst) bool {
	bound, ok := in.Args[1].(x86asm.Mem)
	return ok && in.Op == x86asm.CMP && bound.Base == x86asm.R14 && bound.Disp == 0x10
}

// lengthVEX is the length of an instruction with a VEX prefix, which the disassembler takes for others and compilers write for GOAMD64=v3; 0 if it is
// none.
func lengthVEX(b []byte) int {
	if len(b) < 4 || b[0] != 0xc4 && b[0] != 0xc5 {
		return 0
	}
	opcodes, at := byte(1), 2
	if b[0] == 0xc4 {
		opcodes, at = b[1]&0x1f, 3
	}
	opcode := b[at]
	at++
	immediate := 0
	switch opcodes {
	case 1:
		if opcode == 0x77 { // vzeroupper has no operands
			return at
		}
		if opcode >= 0x70 && opcode <= 0x73 || opcode == 0xc2 || opcode >= 0xc4 && opcode <= 0xc6 {
			immediate = 1
		}
	case 2:
	case 3:
		immediate = 1
	default:
		return 0
	}
	if at >= len(b) {
		return 0
	}
	mod, rm := b[at]>>6, b[at]&7
	at++
	if mod != 3 {
		if rm == 4 {
			if at >= len(b) {
				return 0
			}
			if b[at]&7 == 5 && mod == 0 {
				at += 4
			}
			at++
		} else if rm == 5 && mod == 0 {
			at += 4
		}
		switch mod {
		case 1:
			at++
		case 2:
			at += 4
		}
	}
	if at += immediate; at > len(b) {
		return 0
	}
	return at
}

func probePointsARM64(code []byte) (probePoints, error) {
	const size = 4
	var p probePoints
	if len(code)%size != 0 {
		return p, fmt.Errorf("%w: %d bytes of code", errDisassemble, len(code))
	}
	checks := false // the bound has been loaded
	for at := 0; at < len(code); at += size {
		in, err := arm64asm.Decode(code[at:])
		if err != nil {
			continue // of the same length; constants stand among the code, too
		}
		word := binary.LittleEndian.Uint32(code[at:])
		if at < prologue*size && word == 0xf9400b90 { // ldr x16, [x28, #16]: the goroutine's bound, g.stackguard0
			checks = true
		}
		switch in.Op {
		case arm64asm.RET:
			if word == 0xd65f03c0 { // by the link register, as all of Go's
				p.returns = append(p.returns, at)
			}
		case arm64asm.B:
			if _, conditional := in.Args[0].(arm64asm.Cond); conditional && checks {
				p.entry, checks = at+size, false
			}
		}
	}
	return p, nil
}
