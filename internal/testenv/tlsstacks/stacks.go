package tlsstacks

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// End is one end of connections: where a server listens and what it presents, or where a client dials to.
type End struct {
	ID       string `json:"id"`
	Address  string `json:"address"`  // to dial to
	SNI      string `json:"sni"`      // of a client; it must be the server's name
	Version  string `json:"version"`  // 1.2 or 1.3, and no other
	ALPN     string `json:"alpn"`     // comma-separated
	Cert     string `json:"cert"`     // file of the chain, leaf first; none: a client presents nothing. Reference servers: see Material.ByName
	Key      string `json:"key"`      // its file
	CA       string `json:"ca"`       // file of whom to trust; a server with one asks for a certificate
	Session  string `json:"session"`  // see Client.Repeat
	Insecure bool   `json:"insecure"` // take a peer's certificate without verifying it
	Wrapped  bool   `json:"wrapped"`  // of Go: the TLS connection is over a net.Conn of the program's own
}

// Truth is what one end knows of a connection.
type Truth struct {
	ID      string         `json:"id"` // of its End
	Local   netip.AddrPort `json:"local"`
	Remote  netip.AddrPort `json:"remote"`
	Version string         `json:"version"`
	SNI     string         `json:"sni"`
	ALPN    string         `json:"alpn"`
	Resumed bool           `json:"resumed"`
	Own     string         `json:"own"`   // SHA-256 of the leaf, in hex; empty if none was presented
	Peer    string         `json:"peer"`  // likewise
	Error   string         `json:"error"` // why there is no connection; what else is there may then be missing
}

// Stack is a TLS library as a program uses it.
type Stack struct {
	Name   string
	Probed string // the file whose functions tell of its handshakes: "libssl", "exe", or nothing for what only the wire tells

	// Listen starts a server; its addresses are in the order of the ends.
	Listen func(t testing.TB, ends []End) *Server
	// Start starts a client that is going to dial to these ends, and perhaps to others. Nil: the stack is no client.
	Start func(t testing.TB, ends []End) *Client

	Tells          Knowledge // of its own connections, as a server
	ClientTells    Knowledge
	Resumes        []string // the versions in which it resumes sessions as a client
	TakesAnything  bool     // a server that can take certificates without verifying them
	ClientInsecure bool     // a client that can
	OffersALPN     bool     // as a client
	Slow           bool     // its bursts are a fifth of Burst
	Thorough       bool     // its handshakes are not all in SSL_do_handshake, or do not touch the socket
	InMemory       bool     // and do not: a part of the Thorough
	OneByOne       bool     // a server that serves one connection at a time
	Forgets        bool     // it does not know the names and certificates of a resumed session

	needs []string // files or programs
}

// Knowledge is how much a program says of its connections.
type Knowledge int

const (
	Nothing       Knowledge = iota // but whether it failed
	Tuple                          // Local and Remote, too
	ButResumption                  // all but Resumed
	All
)

var both = []string{"1.2", "1.3"}

// Reference is the stack whose truth is complete, to be the other end of the others.
func Reference() *Stack { return goStack("go1.26") }

// Stacks are all of them.
func Stacks() []*Stack {
	all := []*Stack{opensslStack(), curlStack(), nginxStack(), pythonStack("python", "tls.py"), pythonStack("asyncio", "aio.py")}
	all = append(all, nodeStack("node", "node"))
	for _, name := range []string{"node16", "node24"} {
		all = append(all, nodeStack(name, cached(name)))
	}
	for _, name := range []string{"go1.21", "go1.21-pie", "go1.22", "go1.23", "go1.24", "go1.25", "go1.26", "go1.26-dwarf", "go1.26-pie"} {
		all = append(all, goStack(name))
	}
	return append(all, javaStack())
}

// Require skips the test where a part of the stack is missing, and says which. In CI it fails instead.
func (s *Stack) Require(t testing.TB) {
	t.Helper()
	for _, what := range s.needs {
		if _, err := exec.LookPath(what); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: %s is missing", s.Name, what)
		}
		t.Skipf("%s: %s is missing: `make tls-stacks` gets what Debian does not have, apt-get the rest (openssl curl nginx-light python3 default-jdk-headless nodejs)", s.Name, what)
	}
}

func goStack(name string) *Stack {
	program := cached(name)
	return driven(&Stack{Name: name, Probed: "exe", Resumes: both, TakesAnything: true, ClientInsecure: true, OffersALPN: true, needs: []string{program}}, program)
}

func nodeStack(name, program string) *Stack {
	return driven(&Stack{
		Name: name, Probed: "exe", Resumes: both, TakesAnything: true, ClientInsecure: true, OffersALPN: true, Forgets: true, Thorough: true, InMemory: true, needs: []string{program},
	}, program, source("tls.js"))
}

func pythonStack(name, program string) *Stack {
	s := driven(&Stack{Name: name, Probed: "libssl", ClientInsecure: true, OffersALPN: true, Thorough: name == "asyncio", InMemory: name == "asyncio", needs: []string{python}}, python, "-B", source(program))
	if name == "python" { // asyncio has no way to offer a session
		s.Resumes = both
	}
	return s
}

// javaStack is compiled by java as it starts.
func javaStack() *Stack {
	s := driven(&Stack{Name: "java", Slow: true, Resumes: both[1:], OffersALPN: true, needs: []string{"java", "javac"}}, "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", source("Tls.java"))
	s.Tells, s.ClientTells = ButResumption, ButResumption
	return s
}

// python is Debian's, which uses Debian's libssl; other installations bring their own.
const python = "/usr/bin/python3"

func source(name string) string { return filepath.Join(here(), "programs", name) }

func cached(name string) string {
	return filepath.Join(here(), "..", "..", "..", ".cache", "tls", name)
}

// here is the folder of this package: tests of several packages use it.
func here() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		panic("tlsstacks: built with -trimpath, it does not find its programs")
	}
	return filepath.Dir(file)
}
