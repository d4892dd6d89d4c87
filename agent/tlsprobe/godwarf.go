package tlsprobe

import (
	"compress/zlib"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ambit-nhi/ambit/bpf"
)

// maxDWARF is how much debug information is held at once, after decompression.
const maxDWARF = 20 << 20

var (
	errNoDWARF    = errors.New("it has no debug information")
	errLargeDWARF = fmt.Errorf("its debug information is larger than %d MiB", maxDWARF>>20)
)

// dwarfLayout reads the layout from the program's own debug information.
func dwarfLayout(f *elfFile) (*bpf.GoLayout, error) {
	data := make(map[string][]byte)
	room := uint64(maxDWARF)
	for _, name := range []string{"abbrev", "info", "str", "addr", "str_offsets", "line_str"} {
		s, ok := f.section(".debug_" + name)
		if !ok || s.kind == elf.SHT_NOBITS {
			continue
		}
		b, err := f.inflate(s, room)
		if err != nil {
			return nil, err
		}
		data[name] = b
		room -= uint64(len(b))
	}
	if data["info"] == nil {
		return nil, errNoDWARF
	}
	d, err := dwarf.New(data["abbrev"], nil, nil, data["info"], nil, nil, nil, data["str"])
	if err != nil {
		return nil, fmt.Errorf("its debug information is broken: %w", err)
	}
	for _, name := range []string{"addr", "str_offsets", "line_str"} {
		if err := d.AddSection(".debug_"+name, data[name]); err != nil {
			return nil, fmt.Errorf("its debug information is broken: %w", err)
		}
	}
	return layoutFrom(d.Reader())
}

func layoutFrom(r *dwarf.Reader) (*bpf.GoLayout, error) {
	var l bpf.GoLayout
	wanted := map[string]map[string]*uint32{
		"crypto/tls.Conn": {
			"conn": &l.Conn, "isClient": &l.IsClient, "isHandshakeComplete": &l.HandshakeComplete, "vers": &l.Version, "cipherSuite": &l.CipherSuite,
			"didResume": &l.DidResume, "peerCertificates": &l.PeerCertificates, "verifiedChains": &l.VerifiedChains, "serverName": &l.ServerName, "clientProtocol": &l.ClientProtocol,
		},
		"internal/poll.FD":        {"Sysfd": &l.Sysfd},
		"crypto/x509.Certificate": {"Raw": &l.Raw},
	}
	for len(wanted) > 0 {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("its debug information is broken: %w", err)
		}
		if e == nil {
			return nil, errors.New("its debug information does not tell the structures of crypto/tls")
		}
		if e.Tag == dwarf.TagCompileUnit {
			continue
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		fields := wanted[name]
		if e.Tag != dwarf.TagStructType || fields == nil {
			r.SkipChildren()
			continue
		}
		for len(fields) > 0 {
			e, err := r.Next()
			if err != nil || e == nil || e.Tag == 0 {
				return nil, fmt.Errorf("its debug information does not tell all fields of %s", name)
			}
			field, _ := e.Val(dwarf.AttrName).(string)
			at, ok := e.Val(dwarf.AttrDataMemberLoc).(int64)
			if into := fields[field]; into != nil && ok {
				if at < 0 || at > maxStructure {
					return nil, fmt.Errorf("its debug information has %s.%s at %d", name, field, at)
				}
				*into = uint32(at)
				delete(fields, field)
			}
			r.SkipChildren()
		}
		delete(wanted, name)
	}
	return &l, nil
}

const maxStructure = 4096 // bytes; tls.Conn has about 2000

// inflate reads a section of at most room bytes, decompressed.
func (f *elfFile) inflate(s section, room uint64) ([]byte, error) {
	var r io.Reader = io.NewSectionReader(f.r, int64(s.offset), int64(s.size))
	size := s.size
	if s.flags&elf.SHF_COMPRESSED != 0 {
		var h [24]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.name, err)
		}
		size = binary.LittleEndian.Uint64(h[8:])
		switch elf.CompressionType(binary.LittleEndian.Uint32(h[:])) {
		case elf.COMPRESS_ZLIB:
			z, err := zlib.NewReader(r)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", s.name, err)
			}
			defer z.Close()
			r = z
		case elf.COMPRESS_ZSTD:
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(4<<20), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", s.name, err)
			}
			defer z.Close()
			r = z
		default:
			return nil, fmt.Errorf("read %s: unknown compression", s.name)
		}
	}
	if size > room {
		return nil, errLargeDWARF
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	return b, nil
}
