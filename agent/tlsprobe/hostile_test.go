package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

func TestBuilt(t *testing.T) {
	ssl := []string{"SSL_do_handshake", "SSL_free", "SSL_read", "SSL_read_ex", "SSL_use_certificate_ASN1", "SSL_write"}
	f := func(name string, b builtELF, stack string, callers ...[2]uint64) {
		t.Helper()
		o, err := b.target()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if o.stack != stack || !slices.Equal(o.callers, callers) {
			t.Errorf("%s: stack %s, callers %x, want %s, %x", name, o.stack, o.callers, stack, callers)
		}
		for function, names := range opensslFunctions {
			var want []uint64
			for _, n := range names {
				if slices.Contains(b.exported, n) {
					want = append(want, b.offset(n))
				}
			}
			if !slices.Equal(o.functions[function], want) {
				t.Errorf("%s: %v at %x, want %x", name, function, o.functions[function], want)
			}
		}
	}
	b := builtELF{exported: ssl, soname: "libssl.so.1.1"}
	hole := b.offset("SSL_use_certificate_ASN1")
	all := [][2]uint64{{0, hole}, {hole + 16, uint64(len(b.bytes()))}}
	f("libssl", b, "openssl-1.1", all...)
	b.sysv = true
	hole = b.offset("SSL_use_certificate_ASN1")
	f("libssl with an old hash table", b, "openssl-1.1", [2]uint64{0, hole}, [2]uint64{hole + 16, uint64(len(b.bytes()))})
	b.soname = "libssl-43d2f0f9.so.3"
	f("libssl of a wheel", b, "openssl-3", [2]uint64{0, hole}, [2]uint64{hole + 16, uint64(len(b.bytes()))})
	f("libcrypto", builtELF{exported: []string{"i2d_X509", "d2i_X509", "BIO_write"}, constant: "OpenSSL 1.1.1w-fips  11 Sep 2023"}, "openssl-1.1.1w")
	f("LibreSSL", builtELF{exported: []string{"i2d_X509", "d2i_X509"}, constant: "LibreSSL 3.8.2"}, "libressl-3.8.2")
	f("talk of a version", builtELF{exported: []string{"d2i_X509"}, constant: "OpenSSL 1.0.2 or later", soname: "libcrypto.so.3"}, "openssl-3")
	both := builtELF{
		exported: append(slices.Clone(ssl), "d2i_X509", "i2d_X509", "napi_module_register"), constant: "OpenSSL 3.5.4 30 Sep 2025",
		local: []string{"main", "tls_process_server_certificate", "helper", "ssl_add_cert_to_wpacket", "ssl_add_cert_chain"},
	}
	process, add := both.offset("tls_process_server_certificate"), both.offset("ssl_add_cert_chain")
	f("node", both, "node-openssl-3.5.4", [2]uint64{process, add + 16})
	both.local = nil
	f("stripped", both, "node-openssl-3.5.4", [2]uint64{builtCode, both.offset("SSL_use_certificate_ASN1")}, [2]uint64{both.offset("SSL_write"), both.offset("SSL_write") + 16})
}

func TestBoring(t *testing.T) {
	f := func(stack string, more ...string) {
		t.Helper()
		b := builtELF{exported: append([]string{"SSL_do_handshake", "d2i_X509"}, more...)}
		_, err := b.target()
		var blind *blindError
		if !errors.As(err, &blind) || blind.stack != stack {
			t.Errorf("%v: %v", more, err)
		}
	}
	f("boringssl", "CRYPTO_BUFFER_new")
	f("boringssl", "SSL_CTX_set_custom_verify")
	f("aws-lc", "CRYPTO_BUFFER_new", "awslc_version_string")
}

// giant is a file of any size that is zero where nothing was written.
type giant struct {
	size   int64
	pieces map[int64][]byte
	fill   func(p []byte, off int64)
}

func (s *giant) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	if s.fill != nil {
		s.fill(p[:n], off)
	}
	for at, b := range s.pieces {
		from, to := max(at, off), min(at+int64(len(b)), off+int64(n))
		if from < to {
			copy(p[from-off:to-off], b[from-at:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A program of 1 GiB with symbol tables of hundreds of MiB costs little memory and no more than a second or two.
func TestGiantSymbolTable(t *testing.T) {
	b := builtELF{exported: []string{"SSL_do_handshake", "d2i_X509", "i2d_X509"}, local: []string{"tls_process_server_certificate"}}
	file := b.bytes()
	le := binary.LittleEndian
	shoff, count := le.Uint64(file[40:]), uint64(le.Uint16(file[60:]))
	const symbols, names = 256 << 20, 64 << 20
	name := []byte("tls_process_server_certificate\x00")
	s := &giant{size: 1 << 30, pieces: map[int64][]byte{0: file, names: append([]byte{0}, name...)}}
	for i := range count {
		h := file[shoff+64*i:]
		switch i {
		case count - 3: // .symtab
			le.PutUint64(h[24:], symbols)
			le.PutUint64(h[32:], 500<<20)
		case count - 2: // .strtab
			le.PutUint64(h[24:], names)
			le.PutUint64(h[32:], 128<<20)
		}
	}
	entry := make([]byte, symbolSize)
	entry[0], entry[4], entry[6] = 1, byte(elf.STT_FUNC), 1
	le.PutUint64(entry[8:], builtBase+b.offset("tls_process_server_certificate"))
	le.PutUint64(entry[16:], 16)
	s.pieces[symbols+400<<20] = entry
	s.pieces[symbols+499<<20/symbolSize*symbolSize] = entry

	began := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := newELF(s)
	if err != nil {
		t.Fatal(err)
	}
	o, err := opensslTarget(f)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	at := b.offset("tls_process_server_certificate")
	if want := [][2]uint64{{at, at + 16}}; !slices.Equal(o.callers, want) {
		t.Errorf("callers %x, want %x", o.callers, want)
	}
	taken := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d KiB of memory, %v", taken>>10, time.Since(began).Round(time.Millisecond))
	if taken > 8<<20 {
		t.Errorf("%d KiB of memory", taken>>10)
	}
}

// Tables that lead in circles, out of the file or nowhere are errors, not long work.
func TestHostileFiles(t *testing.T) {
	b := builtELF{exported: []string{"SSL_do_handshake", "d2i_X509", "i2d_X509", "SSL_read", "SSL_write"}, local: []string{"tls_process_server_certificate"}}
	le := binary.LittleEndian
	dynamic := func(file []byte, tag elf.DynTag, value uint64) {
		at := le.Uint64(file[64+56+8:])
		for ; ; at += 16 {
			if elf.DynTag(le.Uint64(file[at:])) == tag {
				le.PutUint64(file[at+8:], value)
				return
			}
		}
	}
	f := func(name string, change func(file []byte)) {
		t.Helper()
		file := b.bytes()
		change(file)
		began := time.Now()
		e, err := newELF(bytes.NewReader(file))
		var o *openssl
		if err == nil {
			o, err = opensslTarget(e)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if err == nil {
			t.Errorf("%s: %v", name, o)
		}
	}
	f("truncated", func(file []byte) { le.PutUint64(file[64+56+8:], uint64(len(file)-4)) })
	f("dynamic section at the end of the world", func(file []byte) { le.PutUint64(file[64+56+8:], 1<<63) })
	f("hash table nowhere", func(file []byte) { dynamic(file, elf.DT_GNU_HASH, 1) })
	f("symbols nowhere", func(file []byte) { dynamic(file, elf.DT_SYMTAB, 1<<63) })
	f("names nowhere", func(file []byte) { dynamic(file, elf.DT_STRTAB, ^uint64(0)) })
	f("name out of the table", func(file []byte) { dynamic(file, elf.DT_SONAME, 1<<40) })
	f("chain without end", func(file []byte) {
		table, _ := bytesIndex(file, gnuHashTable([]string{"x"}, 3)[:8])
		le.PutUint32(file[table:], 1)
		h := gnuHash("SSL_do_handshake")
		for i := table + 24; i+4 <= uint64(len(file)); i += 4 {
			le.PutUint32(file[i:], h&^1)
		}
	})
	b.sysv = true
	f("circle", func(file []byte) {
		table, _ := bytesIndex(file, []byte{3, 0, 0, 0, 6, 0, 0, 0})
		for i := range uint64(3 + 6) {
			le.PutUint32(file[table+8+4*i:], 3)
		}
	})
}

func bytesIndex(file, what []byte) (uint64, bool) {
	i := bytes.Index(file[builtCode:], what)
	return uint64(max(i, 0) + builtCode), i >= 0
}

// A symbol table whose every name is one of TLS is refused.
func TestTooManyMatches(t *testing.T) {
	b := builtELF{exported: []string{"SSL_do_handshake", "d2i_X509"}, local: []string{strings.Repeat("ssl_add_cert", 200_000)}}
	if o, err := b.target(); !errors.Is(err, errTooManyMatches) {
		t.Errorf("%v, %v", o, err)
	}
}

func FuzzOpenSSL(f *testing.F) {
	for _, b := range []builtELF{
		{exported: []string{"SSL_do_handshake", "SSL_use_certificate_ASN1"}, soname: "libssl.so.3"},
		{exported: []string{"SSL_do_handshake"}, soname: "libssl.so.3", sysv: true},
		{exported: []string{"d2i_X509", "i2d_X509"}, constant: "OpenSSL 3.0.17 1 Jul 2025"},
		{exported: []string{"d2i_X509", "SSL_do_handshake", "d2i_SSL_SESSION_ex", "d2i_SSL_SESSION"}, local: []string{"tls_process_server_certificate"}},
	} {
		file := b.bytes()
		f.Add(append(file[:0x200:0x200], file[builtCode:]...))
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := newELF(bytes.NewReader(data))
		if err != nil {
			return
		}
		o, err := opensslTarget(e)
		if err != nil {
			return
		}
		for function, offsets := range o.functions {
			for _, at := range offsets {
				ok := false
				for _, s := range e.loads {
					ok = ok || s.flags&elf.PF_X != 0 && at >= s.offset && at < s.offset+s.size
				}
				if !ok || opensslFunctions[function] == nil || function == bpf.Function(0) {
					t.Errorf("%v at %#x is not code", function, at)
				}
			}
		}
		if len(o.callers) > maxCallers {
			t.Errorf("callers %x", o.callers)
		}
		for _, c := range o.callers {
			if c[0] >= c[1] {
				t.Errorf("callers from %#x to %#x", c[0], c[1])
			}
		}
	})
}
