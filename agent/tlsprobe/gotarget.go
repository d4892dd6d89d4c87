package tlsprobe

import (
	"errors"
	"fmt"

	"github.com/ambit-nhi/ambit/bpf"
)

// errNoGoTLS says of a Go program that it does no TLS by crypto/tls.
var errNoGoTLS = errors.New("a Go program without crypto/tls")

// goProbes says which functions of crypto/tls are watched, and where: at their entry, when they have returned, or both. There are no return probes of
// the kernel's kind here: those write onto stacks that Go moves.
var goProbes = map[string]struct {
	entry, returns bpf.Function
}{
	"crypto/tls.(*Conn).clientHandshake":         {entry: bpf.GoClientHandshake, returns: bpf.GoHandshakeReturn},
	"crypto/tls.(*Conn).serverHandshake":         {entry: bpf.GoServerHandshake, returns: bpf.GoHandshakeReturn},
	"crypto/tls.(*Config).getCertificate":        {returns: bpf.GoGetCertificateReturn},
	"crypto/tls.(*Conn).getClientCertificate":    {returns: bpf.GoGetClientCertificateReturn},
	"crypto/tls.(*Conn).verifyServerCertificate": {entry: bpf.GoVerifyServerCertificate},
	"crypto/tls.(*Conn).processCertsFromClient":  {entry: bpf.GoProcessClientCertificates},
	"crypto/tls.(*Conn).Write":                   {entry: bpf.GoWrite},
}

// goTarget says where the probes of a Go program's crypto/tls go, as offsets in the file, and how its structures lie. The error is errNotGo or
// errNoGoTLS for a file that there is nothing to watch in, an unknownLayoutError for a Go that is too new or too strange. The version is told with
// errors, too, where it is known. At most 32 MiB are held, however large the file.
func goTarget(f *elfFile) (functions map[bpf.Function][]uint64, layout *bpf.GoLayout, version string, err error) {
	version, err = goVersion(f)
	if err != nil {
		return nil, nil, "", err
	}
	wanted := make(map[string]bool, len(goProbes)+len(goCalls))
	for name := range goProbes {
		wanted[name] = true
	}
	for _, calls := range goCalls {
		for _, c := range calls {
			wanted[c.by] = true
		}
	}
	found, err := findFunctions(f, wanted)
	if err != nil {
		if minor, _ := goRelease(version); minor < oldestGo { // no wonder that it is not found
			err = tooOld(f, version)
		}
		return nil, nil, version, err
	}
	functions = make(map[bpf.Function][]uint64)
	returned := map[bpf.Function][]uint64{}
	for function, calls := range goCalls {
		if returned[function], err = f.afterCalls(found, calls); err != nil {
			return nil, nil, version, err
		}
	}
	for name, probes := range goProbes {
		fn, ok := found[name]
		if !ok {
			continue
		}
		code, offset, err := f.code(fn)
		if err != nil {
			return nil, nil, version, fmt.Errorf("read %s: %w", name, err)
		}
		points, err := findProbePoints(f.machine, code)
		if err != nil {
			return nil, nil, version, fmt.Errorf("%s: %w", name, err)
		}
		if probes.entry != 0 {
			functions[probes.entry] = append(functions[probes.entry], offset+uint64(points.entry))
		}
		if probes.returns != 0 && functions[probes.returns] == nil {
			functions[probes.returns] = returned[probes.returns]
		}
		if probes.returns != 0 && returned[probes.returns] == nil {
			for _, at := range points.returns {
				functions[probes.returns] = append(functions[probes.returns], offset+uint64(at))
			}
		}
	}
	if len(functions[bpf.GoClientHandshake])+len(functions[bpf.GoServerHandshake]) == 0 {
		return nil, nil, version, errNoGoTLS
	}
	if len(functions[bpf.GoHandshakeReturn]) == 0 {
		return nil, nil, version, fmt.Errorf("%w: a handshake that never returns", errDisassemble)
	}
	if layout, err = layoutOf(f, version); err != nil {
		return nil, nil, version, err
	}
	return functions, layout, version, nil
}

// tooOld says of a program whose function table is another whether that matters.
func tooOld(f *elfFile, version string) error {
	for _, s := range f.loads {
		there, err := f.search(s, []byte("crypto/tls.(*Conn).Handshake"), 1, func(uint64) (bool, error) { return true, nil })
		if err != nil {
			return err
		}
		if there {
			return &unknownLayoutError{version: version}
		}
	}
	return errNoGoTLS
}
