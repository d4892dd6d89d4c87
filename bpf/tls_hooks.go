package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Function is what a program calls in a handshake, and what can be watched of it.
type Function uint8

// OpenSSL's functions, and Go's.
const (
	SSLDoHandshake Function = iota + 1
	SSLRead                 // SSL_read, SSL_read_ex
	SSLWrite                // SSL_write, SSL_write_ex
	SSLFree
	SSLClear
	SSLGetALPN // SSL_get0_alpn_selected
	D2IX509
	I2DX509
	D2ISession // d2i_SSL_SESSION; where there is d2i_SSL_SESSION_ex, that one instead
	BIOWrite   // BIO_write, BIO_write_ex
	X509VerifyCert
	X509StoreCtxGetError

	GoClientHandshake
	GoServerHandshake
	GoHandshakeReturn // every RET of both
	GoGetCertificateReturn
	GoGetClientCertificateReturn
	GoVerifyServerCertificate
	GoProcessClientCertificates
	GoWrite
)

// String is the function's name as its authors write it.
func (f Function) String() string {
	if int(f) < len(functionNames) && functionNames[f] != "" {
		return functionNames[f]
	}
	return fmt.Sprintf("function %d", uint8(f))
}

var functionNames = [...]string{
	SSLDoHandshake: "SSL_do_handshake", SSLRead: "SSL_read", SSLWrite: "SSL_write", SSLFree: "SSL_free", SSLClear: "SSL_clear", SSLGetALPN: "SSL_get0_alpn_selected",
	D2IX509: "d2i_X509", I2DX509: "i2d_X509", D2ISession: "d2i_SSL_SESSION", BIOWrite: "BIO_write", X509VerifyCert: "X509_verify_cert",
	X509StoreCtxGetError: "X509_STORE_CTX_get_error",
	GoClientHandshake:    "(*Conn).clientHandshake", GoServerHandshake: "(*Conn).serverHandshake", GoHandshakeReturn: "return of a handshake",
	GoGetCertificateReturn: "return of (*Config).getCertificate", GoGetClientCertificateReturn: "return of (*Conn).getClientCertificate",
	GoVerifyServerCertificate: "(*Conn).verifyServerCertificate", GoProcessClientCertificates: "(*Conn).processCertsFromClient", GoWrite: "(*Conn).Write",
}

// A userHook is a program that is attached to a function.
type userHook struct {
	program  string
	function Function
	returns  bool   // when it returns, by the kernel's doing
	opens    bool   // a window
	purpose  string // what is blind without it, in words
}

const (
	openSSLItself = "TLS of programs with OpenSSL"
	openSSLMore   = "TLS of programs with OpenSSL that keep it apart from their sockets"
	goItself      = "TLS of Go programs"
)

var userHooks = []userHook{
	{"ssl_handshake", SSLDoHandshake, false, true, openSSLItself},
	{"ssl_handshake_return", SSLDoHandshake, true, false, openSSLItself},
	{"ssl_io", SSLRead, false, true, openSSLMore},
	{"ssl_io_return", SSLRead, true, false, openSSLMore},
	{"ssl_io", SSLWrite, false, true, openSSLMore},
	{"ssl_io_return", SSLWrite, true, false, openSSLMore},
	{"ssl_free", SSLFree, false, false, openSSLItself},
	{"ssl_clear", SSLClear, false, false, "connections of programs with OpenSSL that use the memory of others again"},
	{"ssl_alpn", SSLGetALPN, false, false, "protocols that programs with OpenSSL agreed on"},
	{"ssl_alpn_return", SSLGetALPN, true, false, "protocols that programs with OpenSSL agreed on"},
	{"d2i_x509", D2IX509, false, false, "who the peer is, with OpenSSL"},
	{"i2d_x509", I2DX509, false, false, "who the program itself is, with OpenSSL"},
	{"i2d_x509_return", I2DX509, true, false, "who the program itself is, with OpenSSL"},
	{"d2i_session", D2ISession, false, false, "clients that take up a session with a server with OpenSSL"},
	{"bio_write", BIOWrite, false, false, openSSLMore},
	{"x509_verify", X509VerifyCert, false, false, "whether programs with OpenSSL verified their peers"},
	{"x509_verify_return", X509VerifyCert, true, false, "whether programs with OpenSSL verified their peers"},
	{"x509_error_return", X509StoreCtxGetError, true, false, "whether programs with OpenSSL verified their peers"},

	{"go_client_handshake", GoClientHandshake, false, true, goItself},
	{"go_server_handshake", GoServerHandshake, false, true, goItself},
	{"go_handshake_return", GoHandshakeReturn, false, false, goItself},
	{"go_get_certificate_return", GoGetCertificateReturn, false, false, "who the program itself is, with Go"},
	{"go_get_client_certificate_return", GoGetClientCertificateReturn, false, false, "who the program itself is, with Go"},
	{"go_verify_server_certificate", GoVerifyServerCertificate, false, false, "peers of Go programs that were not verified"},
	{"go_process_client_certificates", GoProcessClientCertificates, false, false, "peers of Go programs that were not verified"},
	{"go_write", GoWrite, false, false, "TLS connections of Go programs that were open before the agent started"},
}

// socketHooks tie TLS connections to sockets. The second of each pair stands in where a kernel lacks the first.
var socketHooks = [][2]hook{
	{
		{"sent", "tp_btf/sock_send_length", "which sockets TLS connections belong to", false, tracing, 0},
		{"tcp_sends", "fentry/tcp_sendmsg", "which sockets TLS connections belong to", false, tracing, 0},
	},
	{
		{"received", "tp_btf/sock_recv_length", "which sockets TLS connections belong to", false, tracing, 0},
		{"tcp_receives", "fentry/tcp_recvmsg", "which sockets TLS connections belong to", false, tracing, 0},
	},
}

// ProbeTLS loads each program that watches TLS alone, attaches nothing, and says what the kernel answered. It needs the same privileges as [Load].
func ProbeTLS() []HookStatus {
	memlock := rlimit.RemoveMemlock()
	spec, err := loadTls()
	if err = errors.Join(err, memlock); err != nil {
		return []HookStatus{{Name: "uprobe", Purpose: openSSLItself + ", " + goItself, Err: err}}
	}
	return tlsStatus(spec, func(program string) error { return tryProgram(spec, program) })
}

// dropRefusedTLS removes the programs that the kernel refuses one by one from spec, and those that stand in for others that it takes. It is an error
// if none is refused alone, in which case loadErr is about something else.
func dropRefusedTLS(spec *ebpf.CollectionSpec, loadErr error) ([]HookStatus, error) {
	refused := map[string]bool{}
	status := tlsStatus(spec, func(program string) error {
		err := tryProgram(spec, program)
		refused[program] = err != nil
		return err
	})
	var missing []HookStatus
	for _, s := range status {
		if s.Err != nil {
			missing = append(missing, s)
		}
	}
	for _, pair := range socketHooks {
		if !refused[pair[0].program] {
			refused[pair[1].program] = true
		}
	}
	any := false
	for program, r := range refused {
		if r {
			any = true
			delete(spec.Programs, program)
		}
	}
	if !any {
		return nil, fmt.Errorf("load programs of TLS: %w", loadErr)
	}
	return missing, nil
}

// tlsStatus asks for every program once.
func tlsStatus(spec *ebpf.CollectionSpec, try func(program string) error) []HookStatus {
	var status []HookStatus
	asked := map[string]bool{}
	for _, h := range userHooks {
		if asked[h.program] || spec.Programs[h.program] == nil {
			continue
		}
		asked[h.program] = true
		status = append(status, HookStatus{Name: h.kernelName(), Purpose: h.purpose, Err: try(h.program)})
	}
	for _, pair := range socketHooks {
		s := HookStatus{Name: pair[0].name, Purpose: pair[0].purpose, Err: try(pair[0].program)}
		if s.Err != nil {
			instead := try(pair[1].program)
			if instead == nil {
				s = HookStatus{Name: pair[1].name, Purpose: pair[1].purpose}
			} else {
				s.Err = fmt.Errorf("%w; %s: %w", s.Err, pair[1].name, instead)
			}
		}
		status = append(status, s)
	}
	return status
}

func (h *userHook) kernelName() string {
	if h.returns {
		return "uretprobe/" + h.function.String()
	}
	return "uprobe/" + h.function.String()
}
