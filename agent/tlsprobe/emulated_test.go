package tlsprobe

import (
	"debug/elf"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func TestEmulatedBehind(t *testing.T) {
	f := func(code string, want int, found bool, keep ...x86asm.Reg) {
		t.Helper()
		if at, ok := emulatedBehind(bytesOf(t, code), keep...); ok != found || at != want {
			t.Errorf("%s: +%d, %t, want +%d, %t", code, at, ok, want, found)
		}
	}
	f("55 48 89 e5", 0, true)                                                                    // push rbp
	f("41 57 48 89 e5", 0, true)                                                                 // push r15
	f("f3 0f 1e fa 55 90", 4, true)                                                              // endbr64; push rbp
	f("48 85 ff 0f 84 97 03 00 00", 3, true, x86asm.RDI)                                         // test rdi, rdi; je
	f("48 83 ec 18 64 48 8b 04 25 28 00 00 00 85 d2 7e 12", 15, true, x86asm.RDI)                // sub rsp, 24; mov rax, fs:40; test edx, edx; jle
	f("48 83 ec 18 85 d2 7e 12", 0, false, x86asm.RSP)                                           // the stack is another then
	f("89 fa 7e 12", 0, false, x86asm.RDX)                                                       // mov edx, edi; jle
	f("88 c2 7e 12", 0, false, x86asm.RDX)                                                       // mov dl, al
	f("40 88 c7 7e 12", 0, false, x86asm.RDI)                                                    // mov dil, al
	f("48 89 06 7e 12", 3, true, x86asm.RSI)                                                     // mov [rsi], rax writes no register
	f("c3 55", 0, false)                                                                         // ret
	f("ff e0 55", 0, false)                                                                      // jmp rax
	f("31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 31 c0 55 90", 0, false) // far away
	f("31 c0", 0, false)                                                                         // the end
	f("", 0, false)                                                                              //
	f("06 55", 0, false)                                                                         // nothing that is known
	f("48 87 fa 7e 12", 0, false)                                                                // xchg rdx, rdi: not among what is looked at
}

func TestStoreError(t *testing.T) {
	f := func(machine elf.Machine, code string, want uint32) {
		t.Helper()
		if got := storeError(machine, bytesOf(t, code)); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	x86, arm := elf.EM_X86_64, elf.EM_AARCH64
	f(x86, "8b 87 b0 00 00 00 31 ff c3", 0xb0)          // mov eax, [rdi+176]; xor edi, edi; ret
	f(x86, "f3 0f 1e fa 8b 47 78 c3", 0x78)             // endbr64; mov eax, [rdi+120]; ret
	f(x86, "55 48 89 e5 8b 87 b0 00 00 00 5d c3", 0xb0) // with a frame
	f(x86, "31 ff 8b 47 78 c3", 0)                      // of another register's structure
	f(x86, "48 8b 47 78 c3", 0)                         // a pointer
	f(x86, "8b 47 78 8b 40 10 c3", 0)                   // of another structure
	f(x86, "8b 47 78 31 c0 c3", 0)                      // and gives nothing of it
	f(x86, "8b 47 78 ff c0 c3", 0)                      // and counts
	f(x86, "8b 87 00 00 10 00 c3", 0)                   // far away
	f(x86, "8b 47 78", 0)                               // no end
	f(arm, "00 b0 40 b9 c0 03 5f d6", 0xb0)             // ldr w0, [x0, #176]; ret
	f(arm, "5f 24 03 d5 00 b0 40 b9 c0 03 5f d6", 0xb0) // bti c
	f(arm, "00 b0 40 b9 00 04 00 11 c0 03 5f d6", 0)    // add w0, w0, #1
	f(arm, "00 b0 40 b9", 0)
	f(elf.EM_RISCV, "00 b0 40 b9 c0 03 5f d6", 0)
}
