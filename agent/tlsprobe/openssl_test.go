package tlsprobe

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/bpf"
)

// required says that a part a test needs is not there: fatal where everything must be, else a reason to skip.
func required(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// library finds a shared library of this machine.
func library(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"} {
		if path, err := filepath.EvalSymlinks(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	required(t, "%s is not installed (package libssl3)", name)
	return ""
}

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		required(t, "%s is not installed: %v", name, err)
	}
	return path
}

// judgeFile opens and judges an OpenSSL file, and checks that it takes little memory.
func judgeFile(t testing.TB, path string) (*openssl, error) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := newELF(file)
	if err != nil {
		return nil, err
	}
	o, err := opensslTarget(f)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 8<<20 {
		t.Errorf("%s took %d KiB of memory", path, taken>>10)
	}
	return o, err
}

// symbolOffset is where debug/elf finds a function in a file.
func symbolOffset(t testing.TB, path, name string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	if local, err := f.Symbols(); err == nil {
		all = append(all, local...)
	}
	for _, s := range all {
		if s.Name != name || s.Section == elf.SHN_UNDEF {
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				return s.Value - p.Vaddr + p.Off
			}
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}

func checkOffsets(t *testing.T, path string, o *openssl, functions ...bpf.Function) {
	t.Helper()
	if len(o.functions) != len(functions) {
		t.Errorf("functions %v, want %v", o.functions, functions)
	}
	for _, function := range functions {
		names := slices.DeleteFunc(slices.Clone(opensslFunctions[function]), func(n string) bool { return n == "d2i_SSL_SESSION_ex" })
		if len(o.functions[function]) != len(names) {
			t.Errorf("%v: %x, want those of %v", function, o.functions[function], names)
			continue
		}
		for i, name := range names {
			want, got := symbolOffset(t, path, name), o.functions[function][i]
			if got != want && (got < want || got-want > 32 || !emulatedAMD64(bytesAt(t, path, got))) {
				t.Errorf("%s at %#x, want %#x or where a probe costs less", name, got, want)
			}
		}
	}
}

func bytesAt(t testing.TB, path string, offset uint64) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 16)
	if _, err := f.ReadAt(b, int64(offset)); err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	sslFunctions    = []bpf.Function{bpf.SSLDoHandshake, bpf.SSLRead, bpf.SSLWrite, bpf.SSLFree, bpf.SSLClear, bpf.SSLGetALPN, bpf.D2ISession}
	cryptoFunctions = []bpf.Function{bpf.D2IX509, bpf.I2DX509, bpf.BIOWrite, bpf.X509VerifyCert}
)

func TestLibssl(t *testing.T) {
	path := library(t, "libssl.so.3")
	o, err := judgeFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	checkOffsets(t, path, o, sslFunctions...)
	if o.stack != "openssl-3" || o.exact {
		t.Errorf("stack %s, exact %v", o.stack, o.exact)
	}
	within := func(name string) bool { return inRanges(o.callers, symbolOffset(t, path, name)) }
	if !within("SSL_do_handshake") || !within("SSL_CTX_new") || within("SSL_use_certificate_ASN1") || within("SSL_CTX_use_certificate_ASN1") {
		t.Errorf("callers %x", o.callers)
	}
}

func inRanges(ranges [][2]uint64, offset uint64) bool {
	for _, r := range ranges {
		if offset >= r[0] && offset < r[1] {
			return true
		}
	}
	return false
}

func TestLibcrypto(t *testing.T) {
	path := library(t, "libcrypto.so.3")
	o, err := judgeFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	checkOffsets(t, path, o, cryptoFunctions...)
	if o.error == 0 {
		t.Error("where X509_STORE_CTX has its error is not known")
	}
	if len(o.callers) != 0 {
		t.Errorf("callers %x", o.callers)
	}
	out, err := exec.Command(program(t, "openssl"), "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "openssl-" + strings.Fields(string(out))[1]; o.stack != want || !o.exact {
		t.Errorf("stack %s, want %s", o.stack, want)
	}
}

// Node has OpenSSL inside and exports it. The callers are told by its symbol table, and nearly so without.
func TestNode(t *testing.T) {
	path := program(t, "node")
	o, err := judgeFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	checkOffsets(t, path, o, append(sslFunctions, cryptoFunctions...)...)
	out, err := exec.Command(path, "-p", "process.versions.openssl").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "+")
	if want := "node-openssl-" + version; o.stack != want || !o.exact {
		t.Errorf("stack %s, want %s", o.stack, want)
	}
	checkNodeCallers(t, path, o, 0)

	stripped := filepath.Join(t.TempDir(), "node")
	if out, err := exec.Command(program(t, "strip"), "-o", stripped, path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v: %s", err, out)
	}
	o, err = judgeFile(t, stripped)
	if err != nil {
		t.Fatal(err)
	}
	checkOffsets(t, stripped, o, append(sslFunctions, cryptoFunctions...)...)
	checkNodeCallers(t, path, o, symbolOffset(t, path, "SSL_do_handshake")-symbolOffset(t, stripped, "SSL_do_handshake"))
}

// checkNodeCallers compares with the symbols of a file that has them all, whose code lies at offsets that are larger by shift.
func checkNodeCallers(t *testing.T, path string, o *openssl, shift uint64) {
	t.Helper()
	if len(o.callers) == 0 || len(o.callers) > maxCallers {
		t.Fatalf("callers %x", o.callers)
	}
	for name, want := range map[string]bool{
		"tls_process_server_certificate": true, "tls_process_client_certificate": true, "ssl3_output_cert_chain": true, "ssl_add_cert_to_wpacket": true,
		"ssl_verify_cert_chain":    true,
		"SSL_use_certificate_ASN1": false, "SSL_trace": false, "X509_verify_cert": false, "PEM_X509_INFO_read_bio_ex": false, "d2i_X509": false,
	} {
		if got := inRanges(o.callers, symbolOffset(t, path, name)-shift); got != want {
			t.Errorf("%s is a caller: %v, want %v (%x)", name, got, want, o.callers)
		}
	}
	t.Logf("callers %x", o.callers)
}

func TestNoOpenSSL(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{library(t, "libc.so.6"), library(t, "libgnutls.so.30"), program(t, "curl"), self} {
		if o, err := judgeFile(t, path); !errors.Is(err, errNoTLS) {
			t.Errorf("%s: %v, %v", path, o, err)
		}
	}
}
