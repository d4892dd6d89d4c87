package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// The kernel does what some instructions do by itself: those it need not run in a copy, one step at a time, which takes longer than all else of a probe,
// on a virtual machine twenty times as long. A probe stands at one of them where there is one as good. On arm64 all are stepped, or none that matters.

// emulatedAMD64 says whether the kernel emulates the instruction that code begins with: push, nop, jumps and calls to where they say.
func emulatedAMD64(code []byte) bool {
	if len(code) < 2 {
		return false
	}
	switch b := code[0]; {
	case b >= 0x50 && b <= 0x57, b == 0x41 && code[1] >= 0x50 && code[1] <= 0x57: // push
		return true
	case b == 0x90, b == 0xe8, b == 0xe9, b == 0xeb, b >= 0x70 && b <= 0x7f, b == 0x0f && code[1] >= 0x80 && code[1] <= 0x8f:
		return true
	}
	return false
}

const nearby = 10 // instructions that a probe may stand behind where it is meant for

// emulatedBehind gives the first instruction of a piece of code that the kernel emulates, of those that run in any case, and before which none of these
// registers is written. ok is false if there is none.
func emulatedBehind(code []byte, keep ...x86asm.Reg) (at int, ok bool) {
	for range nearby {
		if emulatedAMD64(code[at:]) {
			return at, true
		}
		if bytes.HasPrefix(code[at:], endbr64) {
			at += len(endbr64)
			continue
		}
		in, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return 0, false
		}
		switch in.Op {
		case x86asm.TEST, x86asm.CMP, x86asm.NOP:
		case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR, x86asm.ADD, x86asm.SUB:
			if r, ok := in.Args[0].(x86asm.Reg); ok && slices.Contains(keep, wholeRegister(r)) {
				return 0, false
			}
		default: // who knows what it does
			return 0, false
		}
		at += in.Len
	}
	return 0, false
}

var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// wholeRegister is the register of 64 bits that another one is a part of. Those that are not general are themselves.
func wholeRegister(r x86asm.Reg) x86asm.Reg {
	switch {
	case r >= x86asm.AH && r <= x86asm.BH:
		return x86asm.RAX + r - x86asm.AH
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return x86asm.RSP + r - x86asm.SPB
	}
	for _, first := range []x86asm.Reg{x86asm.AL, x86asm.AX, x86asm.EAX} {
		if r >= first && r < first+16 && (first != x86asm.AL || r <= x86asm.BL) {
			return x86asm.RAX + r - first
		}
	}
	return r
}

// storeError reads out of X509_STORE_CTX_get_error where the structure has its error: the function gives it, and does nothing else. 0 if it looks
// otherwise.
func storeError(machine elf.Machine, code []byte) uint32 {
	const most = 1 << 12
	switch machine {
	case elf.EM_X86_64:
		at, found := 0, uint32(0)
		for range nearby {
			if bytes.HasPrefix(code[at:], endbr64) {
				at += len(endbr64)
				continue
			}
			in, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				return 0
			}
			to, _ := in.Args[0].(x86asm.Reg)
			from, memory := in.Args[1].(x86asm.Mem)
			switch {
			case in.Op == x86asm.RET:
				return found
			case in.Op == x86asm.MOV && to == x86asm.EAX && memory && from.Base == x86asm.RDI && from.Index == 0 && from.Segment == 0 && from.Disp > 0 && from.Disp < most && found == 0:
				found = uint32(from.Disp)
			case in.Op == x86asm.PUSH, in.Op == x86asm.POP && to != x86asm.RAX, in.Op == x86asm.MOV && to == x86asm.RBP, in.Op == x86asm.XOR && wholeRegister(to) != x86asm.RAX && to != 0:
				// a frame, and registers that are wiped
				if found == 0 && wholeRegister(to) == x86asm.RDI {
					return 0
				}
			default:
				return 0
			}
			at += in.Len
		}
	case elf.EM_AARCH64:
		const ret, hint = 0xd65f03c0, 0xd503201f
		for found := uint32(0); len(code) >= 4; code = code[4:] {
			switch word := binary.LittleEndian.Uint32(code); {
			case word == ret:
				return found
			case word&0xffc003ff == 0xb9400000 && found == 0: // ldr w0, [x0, #n]
				found = word >> 10 & 0xfff * 4
			case word&0xfffff01f == hint: // bti
			default:
				return 0
			}
		}
	}
	return 0
}
