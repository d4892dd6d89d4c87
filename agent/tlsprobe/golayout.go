package tlsprobe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/bpf"
)

// Oldest and newest Go whose structures are known.
const (
	oldestGo = 21
	newestGo = 26
)

// goLayouts are the structures of crypto/tls, net and crypto/x509 by Go 1.x, for amd64 and arm64 alike.
func goLayout(minor int) (bpf.GoLayout, bool) {
	l := bpf.GoLayout{Conn: 0, IsClient: 16, HandshakeComplete: 40, Version: 72, DidResume: 97, Sysfd: 16, Raw: 0}
	switch minor {
	case 21, 22:
		l.CipherSuite, l.PeerCertificates, l.VerifiedChains, l.ServerName, l.ClientProtocol = 98, 152, 200, 224, 360
	case 23, 24:
		l.CipherSuite, l.PeerCertificates, l.VerifiedChains, l.ServerName, l.ClientProtocol = 100, 152, 200, 224, 368
	case 25, 26:
		l.CipherSuite, l.PeerCertificates, l.VerifiedChains, l.ServerName, l.ClientProtocol = 100, 160, 184, 208, 352
	default:
		return bpf.GoLayout{}, false
	}
	return l, true
}

// goRelease takes apart what Go calls itself: minor 22 of "go1.22.3". Plain says that it is a release as Go's makers published it, not a toolchain of
// somebody else's or one with experiments, whose structures may differ.
func goRelease(version string) (minor int, plain bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	number := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		number = rest[:i]
	}
	minor, err := strconv.Atoi(number)
	if err != nil {
		return 0, false
	}
	patch, ok := strings.CutPrefix(rest[len(number):], ".")
	if !ok {
		return minor, rest == number
	}
	_, err = strconv.ParseUint(patch, 10, 16)
	return minor, err == nil
}

type unknownLayoutError struct {
	version string
	err     error // why the program does not tell itself, nil if it was not asked
}

func (e *unknownLayoutError) Error() string {
	text := fmt.Sprintf("the layout of %s's TLS is not known (known are go1.%d to go1.%d)", e.version, oldestGo, newestGo)
	if e.err != nil {
		text += ", and " + e.err.Error()
	}
	return text
}

func (e *unknownLayoutError) Unwrap() error { return e.err }

// layoutOf takes what a release is known to have, else what the program's own debug information says, else what its base release has.
func layoutOf(f *elfFile, version string) (*bpf.GoLayout, error) {
	minor, plain := goRelease(version)
	known, ok := goLayout(minor)
	if ok && plain {
		return &known, nil
	}
	told, err := dwarfLayout(f)
	if err == nil {
		return told, nil
	}
	if ok {
		return &known, nil
	}
	return nil, &unknownLayoutError{version, err}
}
