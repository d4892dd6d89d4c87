package tlsprobe

import (
	"debug/elf"
	"encoding/binary"
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"github.com/ambit-nhi/ambit/bpf"
)

// goCall is where a function is called.
type goCall struct {
	by     string
	callee string // empty: what tls.Conn.handshakeFn is
}

// goCalls are all calls of the functions whose results are watched, in every Go of which the layout is known. Behind a call there is mostly an
// instruction that the kernel emulates, which it does not do with returns.
var goCalls = map[bpf.Function][]goCall{
	bpf.GoHandshakeReturn: {
		{by: "crypto/tls.(*Conn).handshakeContext"},
		{by: "crypto/tls.(*Conn).handleRenegotiation", callee: "crypto/tls.(*Conn).clientHandshake"},
	},
	bpf.GoGetCertificateReturn: {
		{by: "crypto/tls.(*serverHandshakeState).processClientHello", callee: "crypto/tls.(*Config).getCertificate"},
		{by: "crypto/tls.(*serverHandshakeStateTLS13).pickCertificate", callee: "crypto/tls.(*Config).getCertificate"},
	},
	bpf.GoGetClientCertificateReturn: {
		{by: "crypto/tls.(*clientHandshakeState).doFullHandshake", callee: "crypto/tls.(*Conn).getClientCertificate"},
		{by: "crypto/tls.(*clientHandshakeStateTLS13).sendClientCertificate", callee: "crypto/tls.(*Conn).getClientCertificate"},
	},
}

// afterCalls gives where calls have returned, their first result is still where it was given, and a probe costs little. There are none if one of the
// calls is not as it is known: then the function's own returns are to be probed.
func (f *elfFile) afterCalls(found map[string]goFunction, calls []goCall) (points []uint64, err error) {
	if f.machine != elf.EM_X86_64 {
		return nil, nil
	}
	for _, c := range calls {
		by, ok := found[c.by]
		callee, known := found[c.callee]
		if !ok || !known && c.callee != "" {
			return nil, nil
		}
		code, offset, err := f.code(by)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c.by, err)
		}
		starts, ok := instructionsAMD64(code)
		if !ok {
			return nil, nil
		}
		n := 0
		for i, at := range starts {
			called := false
			if c.callee == "" {
				called = i >= closureLoads && callsClosure(code, starts[i-closureLoads:i+1])
			} else {
				called = code[at] == 0xe8 && len(code)-at >= 5 && by.start+uint64(at)+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[at+1:])))) == callee.start
			}
			if !called || i+1 == len(starts) {
				continue
			}
			behind, ok := emulatedBehind(code[starts[i+1]:], x86asm.RAX, x86asm.R14, x86asm.RSP)
			if !ok {
				return nil, nil
			}
			points = append(points, offset+uint64(starts[i+1]+behind))
			n++
		}
		if n != 1 && (n == 0 || c.callee == "") { // several closures: which is it?
			return nil, nil
		}
	}
	return points, nil
}

// instructionsAMD64 says where the instructions of a function begin.
func instructionsAMD64(code []byte) (starts []int, ok bool) {
	for at := 0; at < len(code); {
		starts = append(starts, at)
		length := 0
		if code[at] == 0xc4 || code[at] == 0xc5 {
			length = lengthVEX(code[at:])
		} else if in, err := x86asm.Decode(code[at:], 64); err == nil {
			length = in.Len
		}
		if length == 0 {
			return nil, false
		}
		at += length
	}
	return starts, true
}

const (
	closureLoads    = 6  // instructions before the call of a closure among which it is loaded
	handshakeFnAt   = 24 // in tls.Conn, of every Go whose layout is known: after conn and isClient
	closureRegister = x86asm.RDX
)

// callsClosure says whether the last of some instructions calls what tls.Conn.handshakeFn is: the closure is loaded from there, and its code from it.
func callsClosure(code []byte, starts []int) bool {
	last := len(starts) - 1
	call, err := x86asm.Decode(code[starts[last]:], 64)
	through, ok := call.Args[0].(x86asm.Reg)
	if err != nil || call.Op != x86asm.CALL || !ok {
		return false
	}
	field, entry := false, false
	for _, at := range starts[:last] {
		in, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return false
		}
		to, ok := in.Args[0].(x86asm.Reg)
		if !ok {
			continue
		}
		from, memory := in.Args[1].(x86asm.Mem)
		load := in.Op == x86asm.MOV && memory && from.Index == 0
		switch to {
		case closureRegister:
			field, entry = load && from.Disp == handshakeFnAt && from.Base != x86asm.RSP && from.Base != 0, false
		case through:
			entry = load && from.Disp == 0 && from.Base == closureRegister && field
		}
	}
	return field && entry
}
