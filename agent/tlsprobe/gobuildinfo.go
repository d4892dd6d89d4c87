package tlsprobe

import (
	"debug/elf"
	"encoding/binary"
	"errors"
)

var errNotGo = errors.New("not a Go program")

const (
	buildInfoMagic   = "\xff Go buildinf:"
	maxBuildInfoArea = 64 << 20 // searched when no section names it
)

// goVersion reads what the linker wrote about itself: "go1.22.3", "go1.24.1 X:boringcrypto".
func goVersion(f *elfFile) (string, error) {
	areas := f.loads
	if s, ok := f.section(".go.buildinfo"); ok {
		areas = []segment{{flags: elf.PF_W, offset: s.offset, address: s.address, size: s.size}}
	}
	version := ""
	for _, area := range areas {
		if area.flags&(elf.PF_X|elf.PF_W) != elf.PF_W || version != "" {
			continue
		}
		area.size = min(area.size, maxBuildInfoArea)
		_, err := f.search(area, []byte(buildInfoMagic), 16, func(address uint64) (bool, error) {
			h, err := f.pages.upTo(area.offset+address-area.address, 32+2+256)
			if err != nil || len(h) < 34 {
				return false, err
			}
			if h[15]&2 == 0 { // strings behind pointers: Go before 1.18
				version = "go before 1.18"
				return true, nil
			}
			n, used := binary.Uvarint(h[32:])
			if used <= 0 || n == 0 || n > 256 || uint64(len(h)) < 32+uint64(used)+n {
				return false, nil
			}
			version = string(h[32+used : 32+used+int(n)])
			return true, nil
		})
		if err != nil {
			return "", err
		}
	}
	if version == "" {
		return "", errNotGo
	}
	return version, nil
}
