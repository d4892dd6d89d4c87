package tlsprobe

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"github.com/ambit-nhi/ambit/bpf"
)

// opensslFunctions are the exported functions by what they are probed for.
var opensslFunctions = map[bpf.Function][]string{
	bpf.SSLDoHandshake:       {"SSL_do_handshake"},
	bpf.SSLRead:              {"SSL_read", "SSL_read_ex", "SSL_peek", "SSL_peek_ex"},
	bpf.SSLWrite:             {"SSL_write", "SSL_write_ex"},
	bpf.SSLFree:              {"SSL_free"},
	bpf.SSLClear:             {"SSL_clear"},
	bpf.SSLGetALPN:           {"SSL_get0_alpn_selected"},
	bpf.D2ISession:           {"d2i_SSL_SESSION", "d2i_SSL_SESSION_ex"},
	bpf.D2IX509:              {"d2i_X509"},
	bpf.I2DX509:              {"i2d_X509"},
	bpf.BIOWrite:             {"BIO_write", "BIO_write_ex"},
	bpf.X509VerifyCert:       {"X509_verify_cert"},
	bpf.X509StoreCtxGetError: {"X509_STORE_CTX_get_error"},
}

// bareCertificate are functions of libssl that read certificates, but none of a handshake.
var bareCertificate = []string{"SSL_use_certificate_ASN1", "SSL_CTX_use_certificate_ASN1", "SSL_trace"}

// certificateMessages begin the names of the functions that read, judge or write a handshake's certificates, and of those they may be inlined in.
var certificateMessages = []string{
	"tls_process_server_cert", "tls_process_client_cert", "tls_process_server_comp", "tls_process_client_comp",
	"tls_process_server_rpk", "tls_process_client_rpk", "tls_construct_server_cert", "tls_construct_client_cert",
	"tls_construct_server_comp", "tls_construct_client_comp",
	"ossl_statem_client_process_message", "ossl_statem_server_process_message", "ssl_add_cert", "ssl3_output_cert_chain",
	"ssl3_get_server_cert", "ssl3_get_client_cert", "ssl3_send_server_cert", "ssl3_send_client_cert", // 1.0 and LibreSSL
	"tls13_server_cert", "tls13_client_cert", // LibreSSL
	"ssl_verify_cert_chain", "ssl_verify_internal",
}

// publicNames begin the names of a library's TLS part where there are no better ones.
var publicNames = []string{"SSL_", "ssl_", "ssl3_", "tls_", "tls1_", "dtls1_", "DTLS_", "ossl_statem_"}

const (
	maxCallers  = 16       // ranges, as bpf.Target takes them
	maxVersion  = 64 << 20 // bytes that are searched for a version
	maxMentions = 1024     // of the name before it
	farApart    = 64 << 10 // bytes between functions of one library, at most
	adjacent    = 64       // bytes between functions that follow each other, at most
)

// openssl is what is known of a file with functions of the OpenSSL family.
type openssl struct {
	functions map[bpf.Function][]uint64 // file offsets
	callers   [][2]uint64
	error     uint32 // where X509_STORE_CTX has its error; 0 if not known
	stack     string // such as openssl-3.0.17
	exact     bool   // stack has the whole version
}

// opensslTarget finds what to probe in a file of the OpenSSL family: libssl, libcrypto, or a program that has both inside and exports them. Its error
// is errNoTLS where there is nothing of it, a *blindError where it cannot be followed. It holds a few hundred KiB, whatever the size of the file.
func opensslTarget(f *elfFile) (*openssl, error) {
	d, ok, err := newDynamic(f)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoTLS
	}
	found, err := d.exported()
	if err != nil {
		return nil, err
	}
	ssl, crypto := found["SSL_do_handshake"], found["d2i_X509"]
	if ssl.address == 0 && crypto.address == 0 {
		return nil, errNoTLS
	}
	if err := d.refuseBoring(); err != nil {
		return nil, err
	}
	if _, ok := found["d2i_SSL_SESSION_ex"]; ok { // the other one calls it
		delete(found, "d2i_SSL_SESSION")
	}
	o := &openssl{functions: map[bpf.Function][]uint64{}}
	for function, names := range opensslFunctions {
		for _, name := range names {
			s, ok := found[name]
			if !ok {
				continue
			}
			offset, segment, ok := f.offset(s.address)
			if !ok || segment.flags&elf.PF_X == 0 {
				return nil, fmt.Errorf("%s is not in an executable segment", name)
			}
			if offset, err = f.cheaper(function, offset, segment); err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			if !slices.Contains(o.functions[function], offset) {
				o.functions[function] = append(o.functions[function], offset)
			}
		}
	}
	if o.error, err = f.storeError(o.functions[bpf.X509StoreCtxGetError]); err != nil {
		return nil, err
	}
	if o.error != 0 { // it is read from there
		delete(o.functions, bpf.X509StoreCtxGetError)
	}
	if ssl.address != 0 {
		if crypto.address != 0 {
			o.callers, err = f.handshakeFunctions()
		} else {
			o.callers, err = d.text()
		}
		if err != nil {
			return nil, err
		}
	}
	o.stack, o.exact, err = d.stack(crypto.address != 0)
	return o, err
}

// onlyBegins are the functions of which only the beginning is probed, and not what was on the stack then.
var onlyBegins = map[bpf.Function]bool{bpf.SSLFree: true, bpf.SSLClear: true, bpf.D2ISession: true, bpf.BIOWrite: true}

const beginning = 64 // bytes of a function that are looked at

// cheaper gives where to probe a function that begins at an offset: there, or a little later if that costs less and all is as it was.
func (f *elfFile) cheaper(function bpf.Function, offset uint64, s segment) (uint64, error) {
	if f.machine != elf.EM_X86_64 || function == bpf.X509StoreCtxGetError {
		return offset, nil
	}
	code, err := f.pages.upTo(offset, int(min(beginning, s.offset+s.size-offset)))
	if err != nil {
		return 0, err
	}
	keep := []x86asm.Reg{x86asm.RDI, x86asm.RSI, x86asm.RDX, x86asm.RSP}
	if onlyBegins[function] {
		keep = keep[:3]
	}
	if at, ok := emulatedBehind(code, keep...); ok {
		offset += uint64(at)
	}
	return offset, nil
}

func (f *elfFile) storeError(at []uint64) (uint32, error) {
	if len(at) != 1 {
		return 0, nil
	}
	code, err := f.pages.upTo(at[0], beginning)
	if err != nil {
		return 0, fmt.Errorf("read X509_STORE_CTX_get_error: %w", err)
	}
	return storeError(f.machine, code), nil
}

// exported looks up all functions. Most files have neither of the first two, and it is over.
func (d *dynamic) exported() (map[string]symbol, error) {
	found := map[string]symbol{}
	look := func(names ...string) error {
		for _, name := range names {
			s, ok, err := d.function(name)
			if err != nil {
				return err
			}
			if ok {
				found[name] = s
			}
		}
		return nil
	}
	if err := look("SSL_do_handshake", "d2i_X509"); err != nil || len(found) == 0 {
		return nil, err
	}
	for _, names := range opensslFunctions {
		if err := look(names...); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// refuseBoring tells BoringSSL and AWS-LC, which have the same names for the functions and keep certificates as buffers that are never parsed so.
func (d *dynamic) refuseBoring() error {
	for _, name := range []string{"CRYPTO_BUFFER_new", "SSL_CTX_set_custom_verify", "SSL_CTX_set0_buffer_pool"} {
		_, ok, err := d.function(name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		stack := "boringssl"
		if _, ok, err := d.function("awslc_version_string"); err == nil && ok {
			stack = "aws-lc"
		}
		return &blindError{stack, "it does not parse certificates as OpenSSL does"}
	}
	return nil
}

// text is all code of a libssl, except functions that read certificates for other reasons.
func (d *dynamic) text() ([][2]uint64, error) {
	var holes []symbol
	for _, name := range bareCertificate {
		s, ok, err := d.function(name)
		if err != nil {
			return nil, err
		}
		if ok && s.size > 0 && s.address+s.size > s.address {
			holes = append(holes, s)
		}
	}
	slices.SortFunc(holes, func(a, b symbol) int { return cmp.Compare(a.address, b.address) })
	var ranges [][2]uint64
	for _, l := range d.f.loads {
		if l.flags&elf.PF_X != 0 && l.size > 0 {
			ranges = append(ranges, d.f.without(l.address, l.address+l.size, holes)...)
		}
	}
	if len(ranges) > maxCallers {
		return nil, fmt.Errorf("its code is in %d pieces", len(ranges))
	}
	return ranges, nil
}

// without gives a range of addresses less the holes in it, as file offsets. The range must lie in one segment.
func (f *elfFile) without(from, to uint64, holes []symbol) (ranges [][2]uint64) {
	base, _, ok := f.offset(from)
	if !ok {
		return nil
	}
	put := func(a, b uint64) {
		if a < b {
			ranges = append(ranges, [2]uint64{base + a - from, base + b - from})
		}
	}
	at := from
	for _, h := range holes {
		if h.address < at || h.address >= to {
			continue
		}
		put(at, h.address)
		at = min(h.address+h.size, to)
	}
	put(at, to)
	return ranges
}

// handshakeFunctions are the functions of the TLS part of a program with OpenSSL inside that read or write a handshake's certificates. Without a
// symbol table the part as a whole is told by what is exported of it: libraries are linked in one after the other.
func (f *elfFile) handshakeFunctions() ([][2]uint64, error) {
	if table, ok := f.section(".symtab"); ok {
		if names, ok := f.section(".strtab"); ok {
			found, err := f.functions(table, names, certificateMessages)
			if err == nil && len(found) > 0 {
				return f.merge(found), nil
			}
			if err != nil && !errors.Is(err, errTooLarge) {
				return nil, err
			}
		}
	}
	table, ok := f.section(".dynsym")
	names, ok2 := f.section(".dynstr")
	if !ok || !ok2 {
		return nil, nil
	}
	search := slices.Concat(bareCertificate, certificateMessages, publicNames) // where two fit, the first counts
	for i := range bareCertificate {
		search[i] += "\x00"
	}
	all, err := f.functions(table, names, search)
	if err != nil {
		if errors.Is(err, errTooLarge) {
			return nil, nil
		}
		return nil, err
	}
	return f.clusters(all, len(bareCertificate), len(bareCertificate)+len(certificateMessages)), nil
}

// merge makes ranges of functions that follow each other, as file offsets. Where these are too many, they span what lies between, too.
func (f *elfFile) merge(functions []named) (ranges [][2]uint64) {
	for apart := uint64(adjacent); ; apart *= 4 {
		ranges = ranges[:0]
		for _, s := range functions {
			offset, segment, ok := f.offset(s.address)
			if !ok || segment.flags&elf.PF_X == 0 || s.size == 0 || s.size > segment.offset+segment.size-offset {
				continue
			}
			if n := len(ranges); n > 0 && offset >= ranges[n-1][0] && offset <= ranges[n-1][1]+apart {
				ranges[n-1][1] = max(ranges[n-1][1], offset+s.size)
				continue
			}
			ranges = append(ranges, [2]uint64{offset, offset + s.size})
		}
		if len(ranges) <= maxCallers || apart > 1<<32 {
			return ranges[:min(len(ranges), maxCallers)]
		}
	}
}

// clusters are the places where functions of TLS lie together: those with a function that handles certificate messages if there is such a name, else
// all. Names below bare are functions to leave out, names from there to messages handle certificate messages.
func (f *elfFile) clusters(all []named, bare, messages int) (ranges [][2]uint64) {
	var holes []symbol
	var functions []named
	for _, s := range all {
		if int(s.name) < bare {
			holes = append(holes, s.symbol)
		} else {
			functions = append(functions, s)
		}
	}
	var clusters, certain [][]named
	for from := 0; from < len(functions); {
		to, sure := from, false
		for ; to < len(functions) && (to == from || functions[to].address-functions[to-1].address <= farApart); to++ {
			sure = sure || int(functions[to].name) < messages
		}
		if clusters = append(clusters, functions[from:to]); sure {
			certain = append(certain, functions[from:to])
		}
		from = to
	}
	if len(certain) > 0 {
		clusters = certain
	}
	for _, c := range clusters {
		first, last := c[0], c[len(c)-1]
		if offset, s, ok := f.offset(first.address); ok && s.flags&elf.PF_X != 0 && last.size <= s.offset+s.size-offset-(last.address-first.address) {
			ranges = append(ranges, f.without(first.address, last.address+last.size, holes)...)
		}
	}
	if len(ranges) > maxCallers { // no narrower than any
		return nil
	}
	return ranges
}

var (
	libraryVersion = regexp.MustCompile(`^OpenSSL (\d{1,2}\.\d{1,2}\.\d{1,2}[a-z]{0,2})[-+.a-z0-9]* +\d{1,2} [A-Z][a-z]{2} \d{4}`)
	libreVersion   = regexp.MustCompile(`^LibreSSL (\d{1,2}\.\d{1,2}\.\d{1,2})`)
	numberedName   = regexp.MustCompile(`^lib(?:ssl|crypto)[-0-9a-f]*\.so\.(\d{1,2}(?:\.\d{1,2}){0,2})$`)
)

// stack names the library and its version: exactly where libcrypto's code is, which alone has it in words.
func (d *dynamic) stack(crypto bool) (name string, exact bool, err error) {
	if crypto {
		for prefix, version := range map[string]*regexp.Regexp{"OpenSSL ": libraryVersion, "LibreSSL ": libreVersion} {
			v, err := d.f.version(prefix, version)
			if err != nil {
				return "", false, err
			}
			if v == "" {
				continue
			}
			if _, ok, err := d.function("napi_module_register"); err == nil && ok {
				v = "node-" + v
			}
			return v, true, nil
		}
	}
	m := numberedName.FindStringSubmatch(d.soname)
	switch {
	case m == nil:
		return "openssl", false, nil
	case len(m[1]) > 1 && !strings.Contains(m[1], "."): // LibreSSL counts the library itself
		return "libressl", false, nil
	}
	return "openssl-" + m[1], false, nil
}

// version looks for the first text in the constants that tells a version.
func (f *elfFile) version(prefix string, what *regexp.Regexp) (string, error) {
	constants, ok := f.section(".rodata")
	if !ok {
		return "", nil
	}
	s := segment{offset: constants.offset, address: constants.address, size: min(constants.size, maxVersion)}
	var version string
	mentions := 0
	_, err := f.search(s, []byte(prefix), 1, func(address uint64) (bool, error) {
		at := address - s.address
		text := make([]byte, min(64, s.size-at))
		if err := f.readFull(text, s.offset+at); err != nil {
			return false, err
		}
		if m := what.FindSubmatch(text); m != nil {
			version = strings.ToLower(strings.TrimSpace(prefix)) + "-" + string(m[1])
		}
		mentions++
		return version != "" || mentions > maxMentions, nil
	})
	if err != nil {
		return "", fmt.Errorf("look for its version: %w", err)
	}
	return version, nil
}
