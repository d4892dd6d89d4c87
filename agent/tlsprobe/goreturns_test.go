package tlsprobe

import (
	"debug/elf"
	"encoding/hex"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProbePoints(t *testing.T) {
	f := func(machine elf.Machine, code string, want probePoints, fails bool) {
		t.Helper()
		got, err := findProbePoints(machine, bytesOf(t, code))
		if (err != nil) != fails || !fails && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", code, got, err, want)
		}
	}
	x86, arm := elf.EM_X86_64, elf.EM_AARCH64
	// cmp rsp, [r14+16]; jbe +2; push rbp; pop rbp; ret; int3
	f(x86, "49 3b 66 10 76 03 55 5d c3 cc cc", probePoints{6, []int{8}}, false)
	// lea r12, [rsp-128]; cmp r12, [r14+16]; jbe (far); push rbp; ret; ret
	f(x86, "4c 8d 64 24 80 4d 3b 66 10 0f 86 01 00 00 00 55 c3 c3", probePoints{15, []int{16, 17}}, false)
	// no check of the stack: the first jump is the function's own
	f(x86, "48 39 d8 76 01 c3 c3", probePoints{0, []int{5, 6}}, false)
	// a return's byte inside an instruction is none: mov eax, 0xc3
	f(x86, "b8 c3 00 00 00 c3", probePoints{0, []int{5}}, false)
	// a jump into it shows that it was not understood
	f(x86, "eb 01 b8 c3 00 00 00 c3", probePoints{}, true)
	// nothing that is known
	f(x86, "06 c3", probePoints{}, true)
	// shlx rax, rbx, rax; vzeroupper; ret
	f(x86, "c4 e2 f9 f7 c3 c5 f8 77 c3", probePoints{0, []int{8}}, false)
	// ldr x16, [x28, #16]; cmp sp, x16; b.ls; ret; br x1; ret; a constant
	f(arm, "900b40f9 ff6330eb 89000054 c0035fd6 20001fd6 c0035fd6 ffffffff", probePoints{12, []int{12, 20}}, false)
	// b.ls alone
	f(arm, "89000054 c0035fd6", probePoints{0, []int{4}}, false)
	f(arm, "c0035fd6 00", probePoints{}, true)
	f(elf.EM_RISCV, "82 80", probePoints{}, true)
}

func TestLengthVEX(t *testing.T) {
	f := func(code string, want int) {
		t.Helper()
		b := append(bytesOf(t, code), make([]byte, 16)...)
		if got := lengthVEX(b); got != want {
			t.Errorf("%s has %d bytes, want %d", code, got, want)
		}
	}
	f("c5 f8 77", 3)                   // vzeroupper
	f("c4 e2 f9 f7 c3", 5)             // shlx
	f("c4 e3 fb f0 c3 05", 6)          // rorx, with a count
	f("c5 fe 6f 46 20", 5)             // vmovdqu ymm0, [rsi+32]
	f("c5 fe 6f 44 24 20", 6)          // [rsp+32]
	f("c5 fe 6f 86 00 01 00 00", 8)    // [rsi+256]
	f("c5 fe 6f 05 00 00 00 00", 8)    // [rip+0]
	f("c5 fe 6f 04 25 00 00 00 00", 9) // [0]
	f("c5 f9 70 c1 1b", 5)             // vpshufd, with an order
	f("c4 ff f9 f7 c3", 0)             // no such map of opcodes
	f("62 f1 7c 48 10 00", 0)          // EVEX
	if n := lengthVEX([]byte{0xc5, 0xf9, 0x70, 0xc1}); n != 0 {
		t.Errorf("half an instruction has %d bytes", n)
	}
}

// Programs for newer processors have instructions that the disassembler does not know.
func TestGoTargetNewerProcessor(t *testing.T) {
	t.Setenv("GOAMD64", "v3")
	data, err := os.ReadFile(buildGo(t, runtime.Version(), goLink{name: "v3"}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readGo(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	checkSymbols(t, data, got.functions)
}
