package tlsprobe

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"

	"github.com/ambit-nhi/ambit/bpf"
)

// errNoTLS says that a file has nothing to probe.
var errNoTLS = errors.New("no TLS functions")

// blindError says that a file has a TLS stack that cannot be followed, or that it is not known whether it has one.
type blindError struct {
	stack, why string
}

func (e *blindError) Error() string {
	if e.stack == "" {
		return "TLS of " + e.why
	}
	return fmt.Sprintf("TLS of %s: %s", e.stack, e.why)
}

// verdict is what there is to probe in a file.
type verdict struct {
	functions map[bpf.Function][]uint64
	callers   [][2]uint64
	error     uint32 // of OpenSSL's X509_STORE_CTX
	layout    *bpf.GoLayout
	stack     string
	exact     bool // stack has the whole version
}

// dear are the functions that cost much to probe: where nothing else tells. GoWrite is only for connections that are older than the probes.
var dear = map[bpf.Function]bool{bpf.SSLRead: true, bpf.SSLWrite: true, bpf.BIOWrite: true, bpf.GoWrite: true}

func (v *verdict) openssl() bool {
	return len(v.functions[bpf.SSLDoHandshake]) > 0 || len(v.functions[bpf.D2IX509]) > 0
}

// pick gives the functions that are as wanted.
func (v *verdict) pick(wanted func(bpf.Function) bool) map[bpf.Function][]uint64 {
	some := map[bpf.Function][]uint64{}
	for function, offsets := range v.functions {
		if wanted(function) {
			some[function] = offsets
		}
	}
	return some
}

func (v *verdict) lean() map[bpf.Function][]uint64 {
	return v.pick(func(f bpf.Function) bool { return !dear[f] })
}

func (v *verdict) thorough() map[bpf.Function][]uint64 {
	return v.pick(func(f bpf.Function) bool { return dear[f] && f != bpf.GoWrite })
}

func (v *verdict) recovery() map[bpf.Function][]uint64 {
	return v.pick(func(f bpf.Function) bool { return f == bpf.GoWrite })
}

// machines are the architectures by Go's names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// judge finds what there is to probe in a file: Go's TLS, OpenSSL, or both. Its errors are errNoTLS, a *blindError, an *unknownLayoutError, or what is
// wrong with the file.
func judge(r io.ReaderAt) (*verdict, error) {
	if !native(r) {
		return nil, errNoTLS
	}
	f, err := newELF(r)
	if err != nil {
		return nil, err
	}
	v := &verdict{functions: map[bpf.Function][]uint64{}}
	functions, layout, version, errGo := goTarget(f)
	if errGo == nil {
		v.functions, v.layout, v.stack, v.exact = functions, layout, stackOf(version), true
	} else if none(errGo) {
		errGo = nil
	}
	o, err := opensslTarget(f)
	switch {
	case err == nil:
		maps.Copy(v.functions, o.functions)
		if v.callers, v.error = o.callers, o.error; v.layout == nil {
			v.stack, v.exact = o.stack, o.exact
		}
	case v.layout == nil && errGo == nil:
		return nil, err
	}
	if len(v.functions) == 0 {
		return nil, errGo
	}
	return v, nil
}

// native says that a file is code for this machine: others are data, or run in an emulator.
func native(r io.ReaderAt) bool {
	var b [20]byte
	_, err := r.ReadAt(b[:], 0)
	return err == nil && string(b[:6]) == elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)}) &&
		elf.Machine(binary.LittleEndian.Uint16(b[18:])) == machines[runtime.GOARCH]
}

// none says that a file has no TLS of Go.
func none(err error) bool {
	return errors.Is(err, errNotGo) || errors.Is(err, errNoGoTLS)
}
