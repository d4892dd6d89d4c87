package tlsprobe

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/bpf"
)

type goRead struct {
	functions map[bpf.Function][]uint64
	layout    *bpf.GoLayout
	version   string
}

func readGo(r io.ReaderAt) (goRead, error) {
	f, err := newELF(r)
	if err != nil {
		return goRead{}, err
	}
	functions, layout, version, err := goTarget(f)
	for _, at := range functions {
		slices.Sort(at)
	}
	return goRead{functions, layout, version}, err
}

// Programs of each known toolchain and kind of link: the functions are where the symbol table has them, and are found without it and without any
// section.
func TestGoTarget(t *testing.T) {
	for _, release := range goReleases {
		for _, link := range goLinks {
			t.Run(release+"/"+link.name, func(t *testing.T) {
				data, err := os.ReadFile(buildGo(t, release, link))
				if err != nil {
					t.Fatal(err)
				}
				got, err := readGo(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if got.version != release {
					t.Errorf("version is %q", got.version)
				}
				checkSymbols(t, data, got.functions)
				f, err := newELF(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if told, err := dwarfLayout(f); err != nil || *told != *got.layout {
					t.Errorf("layout is %+v, the program itself says %+v, %v", got.layout, told, err)
				}
				bare := withoutSections(data)
				again, err := readGo(bytes.NewReader(bare))
				if err != nil {
					t.Fatalf("without sections: %v", err)
				}
				if !reflect.DeepEqual(again, got) {
					t.Errorf("without sections it is %+v, want %+v", again, got)
				}
			})
		}
	}
}

// withoutSections is what is left of a file when all that only tools need is gone: symbols, debug information, sections' names.
func withoutSections(data []byte) []byte {
	bare := bytes.Clone(data)
	for _, at := range []int{40, 58, 60, 62} { // e_shoff, e_shentsize, e_shnum, e_shstrndx
		n := 2
		if at == 40 {
			n = 8
		}
		clear(bare[at : at+n])
	}
	return bare
}

func checkSymbols(t *testing.T, data []byte, functions map[bpf.Function][]uint64) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	code := make(map[string][2]uint64)
	for _, s := range symbols {
		for _, p := range f.Progs {
			_, wanted := goProbes[s.Name]
			for _, calls := range goCalls {
				wanted = wanted || slices.ContainsFunc(calls, func(c goCall) bool { return c.by == s.Name })
			}
			if wanted && p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				start := s.Value - p.Vaddr + p.Off
				code[s.Name] = [2]uint64{start, start + s.Size}
			}
		}
	}
	if want := len(goProbes) + 6; len(code) != want {
		t.Fatalf("the symbol table has %d of %d functions", len(code), want)
	}
	for name, probes := range goProbes {
		within := code[name]
		if probes.entry != 0 {
			at := functions[probes.entry]
			if len(at) != 1 || at[0] <= within[0] || at[0]-within[0] > 24 || data[at[0]] != 0x55 {
				t.Errorf("%s is probed at %#x, want before the push of rbp near %#x", name, at, within[0])
			}
		}
	}
	for function, calls := range goCalls {
		if len(functions[function]) != len(calls) {
			t.Errorf("%s is probed at %#x, want behind %d calls", function, functions[function], len(calls))
		}
		for _, at := range functions[function] {
			by := slices.IndexFunc(calls, func(c goCall) bool { return at > code[c.by][0] && at < code[c.by][1] })
			if by < 0 || !emulatedAMD64(data[at:]) {
				t.Errorf("%s is probed at %#x, where there is % x", function, at, data[at:at+4])
				continue
			}
			// a call that returns a little before
			if before := data[at-40 : at]; bytes.IndexByte(before, 0xe8) < 0 && bytes.IndexByte(before, 0xff) < 0 {
				t.Errorf("%s is probed at %#x, behind % x", function, at, before)
			}
		}
	}
}

// Where a call is not found, a function's own returns are probed.
func TestGoReturns(t *testing.T) {
	data, err := os.ReadFile(buildGo(t, runtime.Version(), goLinks[0]))
	if err != nil {
		t.Fatal(err)
	}
	for function, calls := range goCalls {
		for _, c := range calls {
			changed := bytes.ReplaceAll(data, []byte(c.by+"\x00"), []byte(c.by[:len(c.by)-1]+"_\x00"))
			got, err := readGo(bytes.NewReader(changed))
			if err != nil {
				t.Fatal(err)
			}
			at := got.functions[function]
			if len(at) < 2 {
				t.Errorf("without %s, %s is probed at %#x", c.by, function, at)
			}
			for _, at := range at {
				if data[at] != 0xc3 || data[at-1] != 0x5d && data[at-1] != 0x90 { // pop rbp, ret
					t.Errorf("without %s, %s is probed at %#x, where there is % x", c.by, function, at, data[at-2:at+1])
				}
			}
		}
	}
}

// A linker that is told to leave out symbols writes the same program.
func TestGoTargetStripped(t *testing.T) {
	for _, release := range []string{goReleases[0], runtime.Version()} {
		for _, mode := range []string{"exe", "pie"} {
			whole, err := readFile(buildGo(t, release, goLink{name: "for-strip-" + mode, flags: []string{"-buildmode=" + mode}}))
			if err != nil {
				t.Fatal(err)
			}
			path := buildGo(t, release, goLink{name: "stripped-" + mode, flags: []string{"-buildmode=" + mode, "-ldflags=-s -w"}})
			stripped, err := readFile(path)
			if err != nil {
				t.Fatal(err)
			}
			counts := func(r goRead) string {
				var b strings.Builder
				for _, f := range slices.Sorted(maps.Keys(r.functions)) {
					fmt.Fprint(&b, f, ":", len(r.functions[f]), " ")
				}
				return b.String()
			}
			if counts(stripped) != counts(whole) || stripped.version != whole.version || *stripped.layout != *whole.layout {
				t.Errorf("%s: stripped it has %s, want %s", path, counts(stripped), counts(whole))
			}
		}
	}
}

func readFile(path string) (goRead, error) {
	f, err := os.Open(path)
	if err != nil {
		return goRead{}, err
	}
	defer f.Close()
	return readGo(f)
}

// arm64 is read with the same code, though it never runs here.
func TestGoTargetARM64(t *testing.T) {
	t.Setenv("GOARCH", "arm64")
	for _, mode := range []string{"exe", "pie"} {
		path := buildGo(t, runtime.Version(), goLink{name: "arm64-" + mode, flags: []string{"-buildmode=" + mode}})
		got, err := readFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		word := func(at uint64) string {
			b := make([]byte, 4)
			if _, err := f.ReadAt(b, int64(at)); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("% x", b)
		}
		for _, fn := range []bpf.Function{bpf.GoHandshakeReturn, bpf.GoGetCertificateReturn, bpf.GoGetClientCertificateReturn} {
			if len(got.functions[fn]) < 2 {
				t.Errorf("function %d has %d returns", fn, len(got.functions[fn]))
			}
			for _, at := range got.functions[fn] {
				if w := word(at); w != "c0 03 5f d6" {
					t.Errorf("at %#x is %s, want ret", at, w)
				}
			}
		}
		for _, fn := range []bpf.Function{bpf.GoClientHandshake, bpf.GoServerHandshake, bpf.GoWrite, bpf.GoProcessClientCertificates, bpf.GoVerifyServerCertificate} {
			if len(got.functions[fn]) != 1 {
				t.Fatalf("function %d has %d entries", fn, len(got.functions[fn]))
			}
			at := got.functions[fn][0]
			if w := word(at - 4); !strings.HasSuffix(w, " 54") { // b.cond
				t.Errorf("before the probe at %#x is %s, want a conditional jump", at, w)
			}
		}
		dwarf, err := newELF(f)
		if err != nil {
			t.Fatal(err)
		}
		if told, err := dwarfLayout(dwarf); err != nil || *told != *got.layout {
			t.Errorf("layout is %+v, the program itself says %+v, %v", got.layout, told, err)
		}
	}
}

func TestGoTargetRefuses(t *testing.T) {
	data, err := os.ReadFile(buildGo(t, runtime.Version(), goLinks[0]))
	if err != nil {
		t.Fatal(err)
	}
	rename := func(data []byte, to string) []byte {
		was := []byte(runtime.Version())
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		s := f.Section(".go.buildinfo")
		if s == nil {
			t.Fatal("no .go.buildinfo")
		}
		changed := bytes.Clone(data)
		area := changed[s.Offset : s.Offset+s.FileSize]
		at := bytes.Index(area, was)
		if at < 0 || len(to) != len(was) {
			t.Fatalf("the version stands at %d, of %d bytes", at, len(was))
		}
		copy(area[at:], to)
		return changed
	}
	bare := withoutDWARF(data)
	f := func(name string, data []byte, want string) {
		t.Helper()
		_, err := readGo(bytes.NewReader(data))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	version := "go1.27." + strings.Repeat("1", len(runtime.Version())-len("go1.27."))
	if got, err := readGo(bytes.NewReader(rename(data, version))); err != nil || got.version != version {
		t.Errorf("a newer Go with debug information is %+v, %v", got, err)
	}
	f("newer Go", rename(bare, version), "the layout of "+version+"'s TLS is not known (known are go1.21 to go1.26), and it has no debug information")
	older := "go1.19." + strings.Repeat("1", len(runtime.Version())-len("go1.19."))
	magic := func(data []byte) []byte { // of the function table until Go 1.19
		return bytes.ReplaceAll(data, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}, []byte{0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8})
	}
	f("older Go", magic(rename(data, older)), "the layout of "+older+"'s TLS is not known (known are go1.21 to go1.26)")
	f("older Go without TLS", bytes.ReplaceAll(magic(rename(data, older)), []byte("crypto/tls."), []byte("crypto/xyz.")), errNoGoTLS.Error())
	f("known Go with another table", magic(data), errNoPclntab.Error())
	f("empty", nil, "not an ELF file")
	f("text", []byte(strings.Repeat("#!/bin/sh\n", 100)), "not an ELF file")
	f("32 bits", append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 64)...), "not 64 bits, little-endian")
	f("cut", bare[:len(bare)/8], errNotGo.Error())

	tool, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readGo(bytes.NewReader(tool)); err != nil {
		t.Errorf("the tests' own program: %v", err)
	}
}

// withoutDWARF has no section that can be found by a name of debug information.
func withoutDWARF(data []byte) []byte {
	return bytes.ReplaceAll(data, []byte("\x00.debug_"), []byte("\x00.gone__"))
}

func TestGoTargetWithoutTLS(t *testing.T) {
	for path, want := range map[string]error{"/bin/sh": errNotGo, noTLS(t): errNoGoTLS} {
		if _, err := readFile(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func TestGoRelease(t *testing.T) {
	f := func(version string, minor int, plain bool) {
		t.Helper()
		if m, p := goRelease(version); m != minor || p != plain {
			t.Errorf("%q is 1.%d, plain %v", version, m, p)
		}
	}
	f("go1.21", 21, true)
	f("go1.22.3", 22, true)
	f("go1.26.8", 26, true)
	f("go1.24rc1", 24, false)
	f("go1.24.1 X:boringcrypto", 24, false)
	f("go1.25.3-microsoft", 25, false)
	f("devel go1.27-abcdef", 0, false)
	f("go before 1.18", 0, false)
	f("", 0, false)
}
